//! Registration, login, logout, passwords, deactivation.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#account-management>

use http::Method;

use crate::routes::Routes;

mod change_password;
mod check_registration_token_validity;
mod deactivate;
mod get_3pids;
mod get_login_token;
mod get_login_types;
mod get_turn_server_info;
mod get_username_availability;
pub(crate) mod interactive;
mod login;
mod logout;
mod logout_all;
mod refresh_token;
mod register;
mod request_openid_token;
mod shared_secret;
mod whoami;

pub(crate) use change_password::set_password;
pub(crate) use deactivate::close;

/// Where administrators and test suites make accounts with the shared secret.
const SHARED_SECRET: &str = "/_synapse/admin/v1/register";

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .either(change_password::change_password)
        .open(check_registration_token_validity::check_registration_token_validity)
        .either(deactivate::deactivate)
        .user(get_3pids::get_3pids)
        .user(get_login_token::get_login_token)
        .open(get_login_types::get_login_types)
        .user(get_turn_server_info::get_turn_server_info)
        .open(get_username_availability::get_username_availability)
        .open(login::login)
        .user(logout::logout)
        .user(logout_all::logout_all)
        .open(refresh_token::refresh_token)
        .open(register::register)
        .user(request_openid_token::request_openid_token)
        .user(whoami::whoami)
        .raw(Method::GET, SHARED_SECRET, shared_secret::get_nonce)
        .raw(Method::POST, SHARED_SECRET, shared_secret::register)
}
