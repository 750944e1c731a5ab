//! Owns putting an answer together from the streams. Must never read anything itself that a stream could.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use hearth_rooms::{Member, Membership};
use hearth_store::View;
use hearth_users::Session;
use ruma::OwnedRoomId;

use crate::{
    Error, Request, Response, Rooms, Token,
    account_data::{self, AccountData},
    device_lists::Shared as SharedRooms,
    filter, invites, joined, left, members, presence,
    service::Shared,
    to_device,
    typing::{self, Typing},
    window::{Reading, RoomWindow},
};

/// All that is new for the device, in `view`.
pub(crate) async fn read(
    shared: &Shared,
    view: &View,
    session: &Session,
    request: &Request,
) -> Result<Response, Error> {
    let reading = Reading::open(shared, view, session, request).await?;
    let memberships = reading
        .rooms()
        .known_rooms_of(view, &session.user_id)
        .await?;
    let to_device = to_device::read(&reading).await?;
    let mut account_data = account_data::read(&reading).await?;
    let mut typing = typing::read(&reading, joined_in(&memberships)).await?;
    let mut devices = SharedRooms::new(&reading).await?;

    let mut rooms = Rooms::default();
    read_joined(
        &reading,
        &memberships,
        (&mut account_data, &mut typing),
        &mut devices,
        &mut rooms,
    )
    .await?;
    read_others(
        &reading,
        &memberships,
        &mut account_data,
        &mut devices,
        &mut rooms,
    )
    .await?;

    read_forgotten(&reading, &mut devices, &mut rooms).await?;

    let device_lists = devices.finish(&reading, joined_in(&memberships)).await?;
    // Whose keys the device is told to look at may be new to it.
    let present = presence::read(&reading, joined_in(&memberships), &device_lists.changed).await?;
    let keys = shared.key_counts.read(shared, view, session).await?;
    Ok(Response {
        next_batch: Token {
            position: view.position(),
            typed: typing.stamp,
            to_device: to_device.upto,
            present: present.stamp,
        },
        rooms,
        account_data: account_data.global.into(),
        presence: present.events.into(),
        to_device: to_device.events.into(),
        device_lists,
        device_one_time_keys_count: keys.one_time.clone(),
        device_unused_fallback_key_types: keys.unused_fallback.clone(),
    })
}

/// The rooms in which the user is joined. Also those that the filter leaves out are looked at, for the keys of their
/// members.
async fn read_joined(
    reading: &Reading<'_>,
    memberships: &[(OwnedRoomId, Member)],
    (account_data, typing): (&mut AccountData, &mut Typing),
    devices: &mut SharedRooms,
    rooms: &mut Rooms,
) -> Result<(), Error> {
    let heads = reading
        .rooms()
        .heads(reading.view, joined_in(memberships))
        .await?;
    let signalled = reading
        .rooms()
        .signalled(reading.view, joined_in(memberships))
        .await?;
    let joined = memberships.iter().filter(|(_, member)| is_joined(member));
    for ((id, member), (head, signalled)) in joined.zip(heads.iter().zip(signalled)) {
        let Some(head) = head else {
            continue;
        };
        if reading.is_still(head, member, signalled)
            && !account_data.tells_of(id)
            && !typing.tells_of(id)
        {
            continue;
        }
        // A client that wants all members is shown the room once they are known.
        if !members::is_lazy(reading) && reading.rooms().is_partial(reading.view, id, head).await? {
            continue;
        }
        let end = (reading.upto(), head.state);
        let room = RoomWindow::open(reading, id, member, head, end)
            .await?
            .with_signals(reading, signalled)
            .await?;
        devices.add_joined(reading, &room).await?;
        if filter::passes_room(&reading.request.filter.room, id) {
            let (own, typing) = (account_data.take(id), typing.take(id));
            let shown = joined::read(reading, &room, own, typing).await?;
            rooms.join.extend(shown.map(|room| (id.clone(), room)));
        }
    }
    Ok(())
}

/// The rooms to which the user is something else.
async fn read_others(
    reading: &Reading<'_>,
    memberships: &[(OwnedRoomId, Member)],
    account_data: &mut AccountData,
    devices: &mut SharedRooms,
    rooms: &mut Rooms,
) -> Result<(), Error> {
    for (id, member) in memberships {
        let is_wanted = filter::passes_room(&reading.request.filter.room, id);
        match member.membership {
            Membership::Invite if is_wanted => {
                let invite = invites::read_invite(reading, id, member).await?;
                rooms.invite.extend(invite.map(|room| (id.clone(), room)));
            }
            Membership::Knock if is_wanted => {
                let knock = invites::read_knock(reading, id, member).await?;
                rooms.knock.extend(knock.map(|room| (id.clone(), room)));
            }
            Membership::Leave | Membership::Ban => {
                let own = account_data.take(id);
                let left = left::read(reading, id, member, devices, own).await?;
                let left = left.filter(|_| is_wanted);
                rooms.leave.extend(left.map(|room| (id.clone(), room)));
            }
            Membership::Join | Membership::Invite | Membership::Knock => {}
        }
    }
    Ok(())
}

/// The rooms that the user left and forgot since the last answer.
async fn read_forgotten(
    reading: &Reading<'_>,
    devices: &mut SharedRooms,
    rooms: &mut Rooms,
) -> Result<(), Error> {
    let Some(since) = reading.since() else {
        return Ok(());
    };
    let forgotten = reading
        .rooms()
        .forgotten(reading.view, reading.user(), since, reading.upto())
        .await?;
    for (id, member) in &forgotten {
        let left = left::read_forgotten(reading, id, member, devices).await?;
        let left = left.filter(|_| filter::passes_room(&reading.request.filter.room, id));
        rooms.leave.extend(left.map(|room| (id.clone(), room)));
    }
    Ok(())
}

/// The rooms in which the user is joined, in their order.
fn joined_in(memberships: &[(OwnedRoomId, Member)]) -> impl Iterator<Item = &ruma::RoomId> + Clone {
    memberships
        .iter()
        .filter(|(_, member)| is_joined(member))
        .map(|(id, _)| &**id)
}

fn is_joined(member: &Member) -> bool {
    member.membership == Membership::Join
}
