//! Who reads one conversation after the other is given more at once: which sessions go into one request with the one that is waited
//! for.

use rusqlite::Connection;

use crate::model::Id;
use crate::store::Result;
use crate::store::fetched::{self, Neighbour, Way};

/// Sessions of a request.
const AT_ONCE: usize = 20;

/// About the bytes of a request, unless the one that is waited for is larger: a reader waits for all of it.
const BYTES: u64 = 4 << 20;

/// How far from the last one the next may be: programs list a commit's sessions and subagents each in their order.
const NEAR: usize = 4;

/// Sessions that are fetched at the second step of a walk. Then twice as many at each.
const FIRST: usize = 4;

/// Where the last fetch was, and how many sessions went into it.
#[derive(Debug, Default)]
pub(super) struct Walk {
    at_once: usize,
    /// The sessions that lie behind it and before it.
    next: [Vec<Id>; 2],
}

impl Walk {
    /// What is fetched with a session: of those that are waited for as many as fit, and what lies next to it where the last one was its
    /// neighbour.
    pub(super) fn together(&mut self, conn: &Connection, session: Id, waiting: &[Id]) -> Result<Vec<Id>> {
        let way = [Way::Later, Way::Earlier].into_iter().zip(&self.next).find(|(_, next)| next.contains(&session));
        let way = way.map(|(way, _)| way);
        self.at_once = match (way, self.at_once) {
            (None, _) => 1,
            (Some(_), 1) => FIRST,
            (Some(_), before) => (2 * before).min(AT_ONCE),
        };
        let near = |way| fetched::neighbours(conn, &session, way, AT_ONCE + NEAR);
        let [later, earlier] = [near(Way::Later)?, near(Way::Earlier)?];
        let beside = match way {
            None => &[][..],
            Some(Way::Later) => &later,
            Some(Way::Earlier) => &earlier,
        };
        let mut wanted = Vec::new();
        for id in waiting.iter().take(AT_ONCE - 1) {
            wanted.extend(fetched::sized(conn, id)?);
        }
        let more = beside.iter().filter(|it| !waiting.contains(&it.id));
        wanted.extend(more.take((self.at_once - 1).saturating_sub(waiting.len())));
        let own = fetched::sized(conn, &session)?.map_or(0, |it| it.bytes);
        let chosen = fitting(own, wanted);
        self.next = [later, earlier]
            .map(|side| side.into_iter().map(|it| it.id).filter(|id| !chosen.contains(id)).take(NEAR).collect());
        Ok(chosen)
    }
}

fn fitting(mut bytes: u64, sessions: Vec<Neighbour>) -> Vec<Id> {
    let fits = |session: &Neighbour| {
        bytes += session.bytes;
        bytes <= BYTES
    };
    sessions.into_iter().take_while(fits).map(|session| session.id).collect()
}
