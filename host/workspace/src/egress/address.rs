//! Which addresses are public.
//!
//! The ranges are those of IANA's special-purpose address registries for IPv4
//! and IPv6 (RFC 6890) and of its multicast registries. Ranges that are
//! formally reachable but serve a protocol's own ends (AS112, AMT, anycast
//! relays) count as special too: nothing that a task wants is there.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// What the range is for.
    pub purpose: &'static str,
    /// Where that is laid down.
    pub source: &'static str,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.purpose, self.source)
    }
}

struct Range<A> {
    base: A,
    bits: u32,
    special: Special,
}

const fn v4(
    a: u8,
    b: u8,
    c: u8,
    d: u8,
    bits: u32,
    purpose: &'static str,
    source: &'static str,
) -> Range<u32> {
    let base = u32::from_be_bytes([a, b, c, d]);
    Range { base, bits, special: Special { purpose, source } }
}

const fn v6(base: [u16; 8], bits: u32, purpose: &'static str, source: &'static str) -> Range<u128> {
    let [a, b, c, d, e, f, g, h] = base;
    let base = Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits();
    Range { base, bits, special: Special { purpose, source } }
}

const V4: &[Range<u32>] = &[
    v4(0, 0, 0, 0, 8, "this network", "RFC 791"),
    v4(10, 0, 0, 0, 8, "private", "RFC 1918"),
    v4(100, 64, 0, 0, 10, "shared by a carrier", "RFC 6598"),
    v4(127, 0, 0, 0, 8, "loopback", "RFC 1122"),
    v4(168, 63, 129, 16, 32, "metadata of a cloud", "Azure's platform address"),
    v4(169, 254, 0, 0, 16, "link-local or metadata of a cloud", "RFC 3927"),
    v4(172, 16, 0, 0, 12, "private", "RFC 1918"),
    v4(192, 0, 0, 0, 24, "protocol assignments", "RFC 6890"),
    v4(192, 0, 2, 0, 24, "documentation", "RFC 5737"),
    v4(192, 31, 196, 0, 24, "AS112", "RFC 7535"),
    v4(192, 52, 193, 0, 24, "multicast tunnelling", "RFC 7450"),
    v4(192, 88, 99, 0, 24, "6to4 relays", "RFC 7526"),
    v4(192, 168, 0, 0, 16, "private", "RFC 1918"),
    v4(192, 175, 48, 0, 24, "AS112", "RFC 7534"),
    v4(198, 18, 0, 0, 15, "benchmarks", "RFC 2544"),
    v4(198, 51, 100, 0, 24, "documentation", "RFC 5737"),
    v4(203, 0, 113, 0, 24, "documentation", "RFC 5737"),
    v4(224, 0, 0, 0, 4, "multicast", "RFC 5771"),
    v4(240, 0, 0, 0, 4, "reserved or broadcast", "RFC 1112"),
];

const V6: &[Range<u128>] = &[
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback", "RFC 4291"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible", "RFC 4291"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated", "RFC 2765"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local translation to IPv4", "RFC 8215"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discarded", "RFC 6666"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "dummy", "RFC 9780"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo", "RFC 4380"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments", "RFC 2928"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation", "RFC 3849"),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4", "RFC 3056"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "AS112", "RFC 7534"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation", "RFC 9637"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing", "RFC 9602"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique local", "RFC 4193"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local", "RFC 4291"),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local", "RFC 3879"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast", "RFC 4291"),
];

const NAT64: Range<u128> = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "translation to IPv4", "RFC 6052");
const GLOBAL: Range<u128> = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, "global unicast", "RFC 4291");
const UNASSIGNED: Special = Special { purpose: "not global unicast", source: "RFC 4291" };

impl Range<u32> {
    fn contains(&self, address: u32) -> bool {
        (address ^ self.base).checked_shr(32 - self.bits).unwrap_or(0) == 0
    }
}

impl Range<u128> {
    fn contains(&self, address: u128) -> bool {
        (address ^ self.base).checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

/// What an address is for, if it is not a public one. An IPv6 address that
/// the system or a translator maps to an IPv4 address is judged as that one.
pub fn special(address: IpAddr) -> Option<Special> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<Special> {
    V4.iter().find(|range| range.contains(address.to_bits())).map(|range| range.special)
}

fn special_v6(address: Ipv6Addr) -> Option<Special> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return special_v4(mapped);
    }
    let bits = address.to_bits();
    if NAT64.contains(bits) {
        let [.., a, b, c, d] = address.octets();
        return special_v4(Ipv4Addr::new(a, b, c, d));
    }
    let known = V6.iter().find(|range| range.contains(bits)).map(|range| range.special);
    known.or_else(|| (!GLOBAL.contains(bits)).then_some(UNASSIGNED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purpose(address: &str) -> Option<&'static str> {
        special(address.parse().expect("an address")).map(|special| special.purpose)
    }

    #[test]
    fn addresses_that_are_not_public_are_recognised_at_both_ends_of_each_range() {
        for address in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.192",
            "192.0.0.255",
            "192.0.2.0",
            "192.0.2.255",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.0.0",
            "192.168.255.255",
            "192.175.48.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::2",
            "::7f00:1",
            "::808:808",
            "::ffff:0:808:808",
            "64:ff9b:1::808:808",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:1ff:ffff::",
            "2001:2::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:808:808::1",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff:ffff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
            "8000::1",
            "1000::1",
        ] {
            assert!(purpose(address).is_some(), "{address} passes for public");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_judged_as_itself() {
        for private in ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "64:ff9b::7f00:1"]
        {
            assert!(purpose(private).is_some(), "{private} passes for public");
        }
        for public in ["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"] {
            assert_eq!(purpose(public), None, "{public}");
        }
        assert_eq!(purpose("2001:0:7f00:1::1"), Some("Teredo"));
    }

    #[test]
    fn neighbours_of_the_ranges_are_public() {
        for address in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.15",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2001:db7::1",
            "2001:db9::1",
            "2003::1",
            "2606:4700::1",
            "2a00::1",
            "3ffe::1",
        ] {
            assert_eq!(purpose(address), None, "{address}");
        }
    }
}
