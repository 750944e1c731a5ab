//! Owns [`Sync`]: what the edge calls, and the long poll. Must never wait with a view open, nor hold anything while it
//! waits but a place in the notifier and a timer.
//!
//! Specification: <https://spec.matrix.org/latest/client-server-api/#get_matrixclientv3sync>

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use hearth_base::Clock;
use hearth_rooms::Rooms;
use hearth_store::Store;
use hearth_users::{Availability, Session, Users};
use ruma::api::client::filter::FilterDefinition;
use tokio::time::Instant;

use crate::{
    Error, Notifier, Response, StateForm, Token, Woken, assembly, echo,
    key_counts::KnownKeyCounts,
    members::KnownMembers,
    presence::{self, Announced},
    quiet::{self, Quiet},
    typing::ShownTyping,
    verdicts::Verdicts,
};

/// The longest wait that a client may ask for.
const MAX_TIMEOUT: Duration = Duration::from_secs(120);

/// Who was told that somebody types looks at least this often whether they still do; up to twice this, so that not all look at once.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// All others look by themselves this often. Nothing should need that, as lost hints are made good.
const LOOK_RARELY: Duration = Duration::from_secs(60);

/// Waits end up to a sixteenth early, and this much at most, so that those that started together do not end together.
const MAX_SPREAD: Duration = Duration::from_secs(2);

/// A request for what is new.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What the device has seen; nothing for a first sync.
    pub since: Option<Token>,
    /// How long to wait for news.
    pub timeout: Duration,
    /// Whether the state is told whole.
    pub full_state: bool,
    /// What the client wants to hear of; a stored filter is looked up by the caller.
    pub filter: Box<FilterDefinition>,
    /// As of when the state is told.
    pub state_form: StateForm,
    /// What the user is meanwhile; nothing to leave that as it is.
    pub availability: Option<Availability>,
}

/// What is new for devices. Cheap to clone.
#[derive(Clone)]
pub struct Sync(Arc<Shared>);

/// What the streams share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
    pub(crate) users: Users,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) members: KnownMembers,
    pub(crate) typing: ShownTyping,
    pub(crate) announced: Announced,
    pub(crate) verdicts: Verdicts,
    pub(crate) quiet: Quiet,
    pub(crate) key_counts: KnownKeyCounts,
    notifier: Notifier,
}

impl Sync {
    /// The sync of one node. Has to be called inside of a runtime, in which its notifier runs.
    #[must_use]
    pub fn new(store: Store, rooms: Rooms, users: Users, clock: Arc<dyn Clock>) -> Self {
        let notifier = Notifier::start(store.clone(), rooms.clone(), clock.clone());
        let closing = notifier.closing();
        let shared = Arc::new(Shared {
            store,
            rooms,
            users,
            clock,
            members: KnownMembers::default(),
            typing: ShownTyping::default(),
            announced: Announced::default(),
            verdicts: Verdicts::default(),
            quiet: Quiet::default(),
            key_counts: KnownKeyCounts::default(),
            notifier,
        });
        tokio::spawn(presence::announce(Arc::downgrade(&shared), closing));
        Self(shared)
    }

    /// What wakes requests, for other ways to wait.
    #[must_use]
    pub fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// Ends all waits: each request answers with what it has. For shutdown.
    pub fn close(&self) {
        self.0.notifier.close();
    }

    /// What is new for the device of `session`: at once if there is something, it is the first sync or the whole state is
    /// asked for, else as soon as there is something or the time is over.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn sync(&self, session: Session, request: Request) -> Result<Box<Response>, Error> {
        let answer = self.look(&session, &request).await?;
        let head_start = echo::head_start(&answer, &session, self.0.clock.now());
        if !head_start.is_zero() {
            tokio::time::sleep(head_start).await;
        }
        Ok(answer)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    async fn note_presence(&self, session: &Session, request: &Request) -> Result<(), Error> {
        let Some(availability) = request.availability else {
            return Ok(());
        };
        let (user, device) = (&session.user_id, &session.device_id);
        let stays = request.timeout.min(MAX_TIMEOUT);
        let users = &self.0.users;
        Ok(users.note_sync(user, device, availability, stays).await?)
    }

    async fn look(&self, session: &Session, request: &Request) -> Result<Box<Response>, Error> {
        let shared = &self.0;
        // In a box, as what follows, so that a request that waits is small.
        Box::pin(self.note_presence(session, request)).await?;
        let mut waiter = shared.notifier.register(&session.user_id);
        let mut is_first = true;
        let started = Instant::now();
        let timeout = spread(session, request.timeout.min(MAX_TIMEOUT));
        let mut woken = Woken::Hint;
        loop {
            let due = woken == Woken::Closing || started.elapsed() >= timeout;
            let answer = Box::pin(shared.news(session, request, is_first)).await?;
            is_first = false;
            let waits = request.since.is_some() && !request.full_state && answer.is_empty();
            if due || !waits {
                return Ok(answer);
            }
            drop(answer);
            let left = timeout.saturating_sub(started.elapsed());
            // Typing ends without a hint.
            let look = if shared.typing.is_watched(session) {
                LOOK_EVERY + spread_of(session, LOOK_EVERY)
            } else {
                LOOK_RARELY
            };
            woken = waiter.wait(left.min(look)).await;
        }
    }
}

impl Shared {
    /// What is new for the device by now. The first look takes in what the device has by its token; where nothing is new
    /// there is nothing of that either.
    async fn news(
        &self,
        session: &Session,
        request: &Request,
        is_first: bool,
    ) -> Result<Box<Response>, Error> {
        if let Some(nothing) = self.quiet.answer(self, session, request) {
            return Ok(Box::new(nothing));
        }
        if let Some(since) = &request.since
            && is_first
        {
            self.acknowledge(session, since).await?;
        }
        let moment = quiet::moved(self).now();
        let view = self.store.view().await?;
        let answer = assembly::read(self, &view, session, request).await?;
        let look = (moment, &view);
        self.quiet
            .note(self, look, session, request, &answer)
            .await?;
        Ok(Box::new(answer))
    }

    pub(crate) fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    /// A device that goes on from a token has everything up to it.
    async fn acknowledge(&self, session: &Session, since: &Token) -> Result<(), Error> {
        let (user, device) = (&session.user_id, &session.device_id);
        self.users
            .acknowledge_to_device(user, device, since.to_device)
            .await?;
        Ok(())
    }
}

/// A timeout that ends a little early.
fn spread(session: &Session, timeout: Duration) -> Duration {
    timeout - spread_of(session, (timeout / 16).min(MAX_SPREAD))
}

/// A part of `most`, which differs from device to device.
fn spread_of(session: &Session, most: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (&session.user_id, &session.device_id).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1024).unwrap_or_default();
    most * share / 1024
}
