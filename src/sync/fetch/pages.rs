//! A session may come on several pages, and a page may hold several sessions.

use std::sync::Arc;

use super::Trouble;
use crate::cloud::wire::{FetchedSession, Mark};
use crate::cloud::{Cloud, CloudError};
use crate::model::Id;

/// Asks for sessions page after page, and gives each to `each` as a whole, until that says that it is enough.
pub(super) fn sessions(
    ids: &[Id],
    cloud: &mut dyn FnMut() -> Result<Arc<dyn Cloud>, Trouble>,
    each: &mut dyn FnMut(FetchedSession) -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let (mut after, mut begun): (Option<Mark>, Option<FetchedSession>) = (None, None);
    loop {
        let page = cloud()?.fetch(ids, after.as_ref())?;
        for session in page.sessions {
            begun = match begun.take() {
                Some(former) if former.row.id == session.row.id => Some(joined(former, session)),
                Some(former) => {
                    if !each(former)? {
                        return Ok(());
                    }
                    Some(session)
                }
                None => Some(session),
            };
        }
        // What is gone on with elsewhere is whole.
        let is_whole =
            |session: &mut FetchedSession| page.next.as_ref().is_none_or(|next| next.session != session.row.id);
        if let Some(session) = begun.take_if(is_whole)
            && !each(session)?
        {
            return Ok(());
        }
        let Some(next) = page.next else { return Ok(()) };
        if after.as_ref() == Some(&next) {
            return Err(CloudError::Garbled("its pages have no end".to_owned()).into());
        }
        after = Some(next);
    }
}

fn joined(mut former: FetchedSession, next: FetchedSession) -> FetchedSession {
    // The later one: facts may have come in between.
    former.row = next.row;
    former.turns.extend(next.turns);
    former.raw.extend(next.raw);
    former.usage.extend(next.usage);
    former
}
