#![allow(clippy::unwrap_used)]

use http::{HeaderValue, Request};
use proptest::prelude::*;

use super::*;

fn parts(values: &[&[u8]]) -> Parts {
    let mut request = Request::new(()).into_parts().0;
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers.append(header::AUTHORIZATION, value);
    }
    request
}

#[test]
fn both_forms_of_the_header_are_read() {
    for text in [
        r#"X-Matrix origin="a.org:8448",destination="b.org",key="ed25519:k",sig="YWJj""#,
        r#"x-matrix  sig=YWJj , KEY="ed25519:k",origin="a.org:8448", destination=b.org,later="x y""#,
        r#"X-Matrix origin=a.org:8448,key="ed25519:k",sig="YWJj",destination="b.org""#,
    ] {
        let claims = claims(&parts(&[text.as_bytes()])).unwrap();
        assert_eq!(claims[0].origin.as_str(), "a.org:8448", "{text}");
        assert_eq!(claims[0].key.as_str(), "ed25519:k");
        assert_eq!(claims[0].destination.as_ref().unwrap().as_str(), "b.org");
    }
}

#[test]
fn what_is_no_claim_is_refused() {
    for text in [
        "",
        "Bearer abc",
        "X-Matrix",
        r#"X-Matrix origin="a.org",key="ed25519:k""#,
        r#"X-Matrix origin="a.org",origin="b.org",key="ed25519:k",sig="YWJj""#,
        r#"X-Matrix origin="a org",key="ed25519:k",sig="YWJj""#,
        r#"X-Matrix origin="a.org",key="k",sig="YWJj""#,
        r#"X-Matrix origin="a.org",key="ed25519:k",sig="%%%""#,
    ] {
        claims(&parts(&[text.as_bytes()])).unwrap_err();
    }
    claims(&parts(&[])).unwrap_err();
    let long = format!("X-Matrix origin=\"{}\"", "a".repeat(MAX_HEADER));
    claims(&parts(&[long.as_bytes()])).unwrap_err();
}

proptest! {
    #[test]
    fn no_header_ends_anything(bytes in proptest::collection::vec(0x20_u8..=0xFF, 0..300)) {
        let bytes: Vec<u8> = bytes.into_iter().filter(|b| *b != 0x7F).collect();
        claims(&parts(&[&bytes])).ok();
    }

    #[test]
    fn nearly_right_headers_do_not_end_anything(
        scheme in "(X-Matrix|x-matrix|Bearer) {0,2}",
        fields in proptest::collection::vec(("(origin|destination|key|sig|x)", "[ \"\\\\,=:a-z0-9.\\[\\]]{0,20}"), 0..6),
    ) {
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = format!("{scheme}{}", fields.join(","));
        claims(&parts(&[text.as_bytes()])).ok();
    }
}
