#![allow(clippy::unwrap_used)]

use hearth_base::SeededRng;
use ruma::ServerName;

use super::*;

fn service(priority: u16, weight: u16, target: &str) -> Service {
    Service {
        priority,
        weight,
        target: target.to_owned(),
        port: 8448,
    }
}

#[test]
fn names_with_an_address_or_a_port_need_no_look_up() {
    let place = |name: &str| fixed(&ServerName::parse(name).unwrap());
    let found = place("1.2.3.4").unwrap();
    assert_eq!(
        (found.host.as_str(), found.port, found.header.as_str()),
        ("1.2.3.4", 8448, "1.2.3.4")
    );
    let found = place("[2001:db8::1]:80").unwrap();
    assert_eq!((found.host.as_str(), found.port), ("[2001:db8::1]", 80));
    assert_eq!(found.header, "[2001:db8::1]:80");
    let found = place("a.org:443").unwrap();
    assert_eq!(
        (found.host.as_str(), found.port, found.header.as_str()),
        ("a.org", 443, "a.org:443")
    );
    assert_eq!(place("a.org"), None);
}

#[test]
fn services_are_tried_by_priority_and_heavy_ones_more_often() {
    let rng = SeededRng::new(7);
    let mut heavy_first = 0;
    for _ in 0..200 {
        let services = vec![
            service(20, 1, "last"),
            service(10, 90, "heavy"),
            service(10, 10, "light"),
        ];
        let order = ordered(services, &rng);
        assert_eq!(order[2].target, "last");
        heavy_first += usize::from(order[0].target == "heavy");
    }
    assert!((120..200).contains(&heavy_first), "{heavy_first}");
}
