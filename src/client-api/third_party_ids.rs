//! Mail addresses and telephone numbers of users. None are kept here: this server sends no mail, and without that it could
//! not tell whose an address is. Each endpoint says so with the errcode that clients know for it.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#adding-account-administrative-contact-information>

use ruma::api::client::account::{
    request_3pid_management_token_via_email, request_3pid_management_token_via_msisdn,
    request_password_change_token_via_email, request_password_change_token_via_msisdn,
    request_registration_token_via_email, request_registration_token_via_msisdn,
};

use crate::routes::Routes;

mod add_3pid;
mod bind_3pid;
mod delete_3pid;
mod request_token;
mod unbind_3pid;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    use request_token::{denied, unknown};
    Routes::new()
        .user(add_3pid::add_3pid)
        .user(bind_3pid::bind_3pid)
        .user(delete_3pid::delete_3pid)
        .user(unbind_3pid::unbind_3pid)
        .open(denied::<request_3pid_management_token_via_email::v3::Request>)
        .open(denied::<request_3pid_management_token_via_msisdn::v3::Request>)
        .open(denied::<request_registration_token_via_email::v3::Request>)
        .open(denied::<request_registration_token_via_msisdn::v3::Request>)
        .open(unknown::<request_password_change_token_via_email::v3::Request>)
        .open(unknown::<request_password_change_token_via_msisdn::v3::Request>)
}
