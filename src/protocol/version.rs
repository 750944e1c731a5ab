//! Owns the list of room versions and the rules of each. Must never guess: an unknown version has no rules.
//!
//! Specification: <https://spec.matrix.org/latest/rooms/>

use std::fmt;

use ruma::{
    RoomVersionId,
    room_version_rules::{
        EventIdFormatVersion, EventsReferenceFormatVersion, RoomVersionDisposition,
        RoomVersionRules, StateResolutionVersion,
    },
};

/// One row per room version, in ascending order, so that a version is an index.
static VERSIONS: [(RoomVersionId, RoomVersionRules); 12] = [
    (RoomVersionId::V1, RoomVersionRules::V1),
    (RoomVersionId::V2, RoomVersionRules::V2),
    (RoomVersionId::V3, RoomVersionRules::V3),
    (RoomVersionId::V4, RoomVersionRules::V4),
    (RoomVersionId::V5, RoomVersionRules::V5),
    (RoomVersionId::V6, RoomVersionRules::V6),
    (RoomVersionId::V7, RoomVersionRules::V7),
    (RoomVersionId::V8, RoomVersionRules::V8),
    (RoomVersionId::V9, RoomVersionRules::V9),
    (RoomVersionId::V10, RoomVersionRules::V10),
    (RoomVersionId::V11, RoomVersionRules::V11),
    (RoomVersionId::V12, RoomVersionRules::V12),
];

/// A room version that this server knows: 1 to 12. One byte, so it is copied rather than borrowed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomVersion(u8);

impl RoomVersion {
    /// Every version that the server takes part in, oldest first.
    pub const ALL: [Self; 12] = [
        Self(0),
        Self(1),
        Self(2),
        Self(3),
        Self(4),
        Self(5),
        Self(6),
        Self(7),
        Self(8),
        Self(9),
        Self(10),
        Self(11),
    ];

    /// The version whose identifier is `id`, or nothing when the server does not know it.
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == id)
    }

    /// The identifier as Ruma's type.
    pub fn id(self) -> &'static RoomVersionId {
        &self.row().0
    }

    /// The identifier as text, for example `"12"`.
    pub fn as_str(self) -> &'static str {
        self.row().0.as_str()
    }

    /// What this version demands: formats, auth rules, redaction, state resolution.
    pub fn rules(self) -> &'static RoomVersionRules {
        &self.row().1
    }

    /// The word for `m.room_versions` in `/capabilities`: `"stable"` or `"unstable"`.
    pub fn stability(self) -> &'static str {
        match self.rules().disposition {
            RoomVersionDisposition::Stable => "stable",
            RoomVersionDisposition::Unstable => "unstable",
        }
    }

    /// Whether an event carries its own id (versions 1 and 2) instead of being named by its hash.
    pub fn has_explicit_event_ids(self) -> bool {
        matches!(self.rules().event_id_format, EventIdFormatVersion::V1)
    }

    /// Whether states are resolved by the first algorithm (version 1).
    pub fn has_first_resolution(self) -> bool {
        !matches!(self.rules().state_res, StateResolutionVersion::V2(_))
    }

    /// Whether `prev_events` and `auth_events` are pairs of id and hash (versions 1 and 2).
    pub(crate) fn has_hashed_references(self) -> bool {
        matches!(
            self.rules().events_reference_format,
            EventsReferenceFormatVersion::V1
        )
    }

    /// Whether the room id is the hash of the create event (version 12).
    pub fn has_hashed_room_ids(self) -> bool {
        self.rules().authorization.room_create_event_id_as_room_id
    }

    /// Whether the fields of an event may have 255 bytes, and not as many characters (version 11 and later).
    pub(crate) fn measures_fields_in_bytes(self) -> bool {
        self >= Self::ALL[10]
    }

    fn row(self) -> &'static (RoomVersionId, RoomVersionRules) {
        // The index is one of those in `ALL`: there is no other constructor.
        &VERSIONS[usize::from(self.0)]
    }
}

impl Default for RoomVersion {
    /// The version that new rooms get.
    fn default() -> Self {
        Self::ALL[11]
    }
}

impl fmt::Debug for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomVersion({})", self.as_str())
    }
}

impl fmt::Display for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_by_their_number() {
        for (index, version) in RoomVersion::ALL.into_iter().enumerate() {
            assert_eq!(version.as_str(), (index + 1).to_string());
            assert_eq!(RoomVersion::parse(version.as_str()), Some(version));
            assert_eq!(version.stability(), "stable");
        }
        assert_eq!(RoomVersion::default().as_str(), "12");
    }

    #[test]
    fn unknown_versions_are_not_guessed() {
        for id in ["", "0", "13", "01", "org.matrix.msc1234", "12 "] {
            assert_eq!(RoomVersion::parse(id), None, "{id:?}");
        }
    }
}
