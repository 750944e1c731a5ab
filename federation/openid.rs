//! Who a user of this server is, for those whom the user gave a token.
//!
//! Specification: <https://spec.matrix.org/latest/server-server-api/#openid>

use crate::routes::Routes;

mod get_openid_userinfo;

/// The endpoints of this chapter.
pub(crate) fn routes() -> Routes {
    Routes::new().open(get_openid_userinfo::get_openid_userinfo)
}
