//! Target: what decides where a server is. No name, no answer and no record leads into a private network unless the operator
//! allows it, and nothing is believed for ever.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use hearth_base::SeededRng;
use hearth_federation::reach::{
    DenyList, Service,
    decisions::{delegation, fixed, is_public, lifetime, may_reach, ordered},
};
use http::{HeaderMap, HeaderValue, header};
use reqwest::Url;
use ruma::ServerName;

use crate::{Outcome, headers, source::Source};

pub(crate) fn run(source: &Source) -> Outcome {
    match source.pick(6) {
        0 => address(source),
        1 => cached(source),
        2 => body(source),
        3 => records(source),
        _ => name(source),
    }
}

/// An address, often near the edges of a range.
fn any_address(source: &Source) -> IpAddr {
    let mut v4 = source.number() as u32;
    if source.once_in(2) {
        let edges: [u32; 10] = [
            0x0000_0000,
            0x0A00_0000,
            0x6440_0000,
            0x7F00_0000,
            0xA9FE_0000,
            0xAC10_0000,
            0xC0A8_0000,
            0xC612_0000,
            0xE000_0000,
            0xFFFF_FFFF,
        ];
        v4 = edges[source.pick(10)]
            .wrapping_add(source.pick(5) as u32)
            .wrapping_sub(2);
    }
    let v4 = Ipv4Addr::from(v4);
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    match source.pick(7) {
        0 => v4.to_ipv6_mapped().into(),
        1 => Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low).into(),
        2 => Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, source.pick(3) as u16).into(),
        3 => {
            let first = [0, 0x2000, 0x2001, 0x3FFF, 0xFC00, 0xFE80, 0xFF02][source.pick(7)];
            let rest = u128::from(source.number()) >> source.pick(64);
            Ipv6Addr::from((u128::from(first as u16) << 112) | rest).into()
        }
        _ => v4.into(),
    }
}

/// What the standard library says for sure to be no part of the internet.
fn is_surely_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.is_documentation()
        }
        IpAddr::V6(address) => {
            let inner = address.to_ipv4().filter(|_| address != Ipv6Addr::LOCALHOST);
            let inner = inner.is_some_and(|inner| is_surely_private(inner.into()));
            inner
                || address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
    }
}

fn address(source: &Source) -> Outcome {
    let address = any_address(source);
    source.tell(|| address.to_string());
    let public = is_public(address);
    if public && is_surely_private(address) {
        return Err(format!("{address} is said to be public"));
    }
    Ok(public)
}

/// An address in one of the ways in which clients read one.
fn odd_address(source: &Source) -> String {
    let IpAddr::V4(address) = any_address(source) else {
        return format!("[{}]", any_address(source));
    };
    let [a, b, c, d] = address.octets();
    let whole = u32::from(address);
    match source.pick(8) {
        0 => whole.to_string(),
        1 => format!("{whole:#x}"),
        2 => format!("0{whole:o}"),
        3 => format!("{a}.{}", whole & 0xFF_FFFF),
        4 => format!("{a}.{b}.{}", whole & 0xFFFF),
        5 => format!("{a:#x}.{b:#x}.{c}.0{d:o}"),
        6 => format!("{address}."),
        _ => address.to_string(),
    }
}

fn any_name(source: &Source) -> String {
    let mut name = match source.pick(4) {
        0 => source.one_of(&headers::NAMES).to_owned(),
        1 => format!("{}.test", source.opaque(5)),
        _ => odd_address(source),
    };
    if source.once_in(3) {
        name.push_str(&format!(":{}", source.pick(70_000)));
    }
    if source.once_in(6) {
        let mut bytes = name.into_bytes();
        source.spoil(&mut bytes);
        name = String::from_utf8_lossy(&bytes).into_owned();
    }
    name
}

/// The name of a server: where it leads, as the client reads it.
fn name(source: &Source) -> Outcome {
    let text = any_name(source);
    source.tell(|| text.clone());
    let Ok(server) = ServerName::parse(&*text) else {
        return Ok(false);
    };
    let place = fixed(&server);
    if let Some(place) = &place {
        let port = server.port().unwrap_or(8448);
        if place.port != port || place.header != text || place.host != server.host() {
            return Err(format!("{text} is said to be at {place:?}"));
        }
    }
    // Names without an address are looked up, and the answers filtered; an address is not.
    let (host, port) = place.map_or((server.host().to_owned(), 443), |p| (p.host, p.port));
    let allowed = may_reach(&host, false);
    if let Ok(url) = Url::parse(&format!("https://{host}:{port}/x"))
        && let Some(reached) = url.host_str()
    {
        let bare = reached.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>()
            && allowed
            && (!is_public(address) || is_surely_private(address))
        {
            return Err(format!("{text} leads to {address}"));
        }
        let has_port = url.port_or_known_default() == Some(port);
        if !has_port || url.path() != "/x" || !url.username().is_empty() {
            return Err(format!("{text} makes of an address {url}"));
        }
    }
    if !may_reach(&host, true) {
        return Err(format!(
            "{text} is refused, though private networks are allowed"
        ));
    }
    let denied = DenyList::new([host.clone()]).denies(&server);
    match denied {
        true => Ok(allowed),
        false => Err(format!("{text} is denied, and not")),
    }
}

/// How long an answer is believed.
fn cached(source: &Source) -> Outcome {
    let mut headers = HeaderMap::new();
    for _ in 0..source.pick(4) {
        let number = match source.pick(3) {
            0 => source.number().to_string(),
            1 => source.integer().to_string(),
            _ => source.pick(200_000).to_string(),
        };
        let text = match source.pick(7) {
            0 => "no-store".to_owned(),
            1 => format!("Max-Age=\"{number}\""),
            2 => format!("public, s-maxage={number} ,max-age={number}{number}"),
            3 => source.text(),
            _ => format!("max-age={number}"),
        };
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append(header::CACHE_CONTROL, value);
        }
    }
    source.tell(|| format!("{headers:?}"));
    let believed = lifetime(&headers);
    let bounds = Duration::from_secs(300)..=Duration::from_secs(48 * 60 * 60);
    match bounds.contains(&believed) {
        true => Ok(true),
        false => Err(format!("{headers:?} is believed for {believed:?}")),
    }
}

/// The body of `.well-known`.
fn body(source: &Source) -> Outcome {
    let name = any_name(source);
    let mut value = serde_json::json!({ "m.server": name });
    if source.once_in(3) {
        source.bend(&mut value);
    }
    let mut bytes = value.to_string().into_bytes();
    if source.once_in(3) {
        source.spoil(&mut bytes);
    }
    source.tell(|| String::from_utf8_lossy(&bytes).into_owned());
    match delegation(&bytes) {
        Ok(server) if ServerName::parse(server.as_str()).is_err() => {
            Err(format!("{server} is taken for a name"))
        }
        Ok(_) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// SRV records.
fn records(source: &Source) -> Outcome {
    let services: Vec<Service> = (0..source.pick(16))
        .map(|_| Service {
            priority: [0, 10, 10, u16::MAX][source.pick(4)],
            weight: [0, 1, 100, u16::MAX][source.pick(4)],
            target: any_name(source),
            port: source.pick(65_536) as u16,
        })
        .collect();
    let order = ordered(services.clone(), &SeededRng::new(source.number()));
    let by_priority = order.is_sorted_by_key(|service| service.priority);
    let all = order.len() == services.len() && services.iter().all(|s| order.contains(s));
    match by_priority && all {
        true => Ok(true),
        false => Err(format!("{services:?} are tried as {order:?}")),
    }
}
