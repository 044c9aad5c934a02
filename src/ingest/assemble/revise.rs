//! Turns that a later record says anew: some agents write a message again, under the same id, when there is more of it.
//!
//! Owns what of a stored turn a new record changes. A record that is stored already changes nothing, whatever it says: a
//! second import of both the old and the new leaves the new.

use super::calls::{Pending, Place, Repeated};
use super::{Assembler, Seen, content};
use crate::ingest::files;
use crate::ingest::record::Image;
use crate::model::{Id, Turn};
use crate::store::{Result, Transaction, turns, visuals};

impl Assembler {
    /// The turn that a record revises: the one of its id, written if it was held until now; else as of any turn.
    pub(super) fn revised_turn(&mut self, tx: &mut Transaction<'_>, id: Id, turn: &Turn) -> Result<Seen> {
        if self.held_ids.contains(&id) && self.is_held_in_this_form(&id, turn) {
            return Ok(Seen::Held(id));
        }
        self.write_held(tx, &id)?;
        if let Some(row) = turns::row_by_id_in(tx, &id)?
            && turns::get(tx, row)?.is_some_and(|stored| same_name(&stored, turn))
        {
            return Ok(Seen::Stored(row));
        }
        self.known_turn(tx, id, turn)
    }

    /// Writes the contents of a revision over those of a stored turn; what is the same is left alone.
    pub(super) fn revise(&mut self, tx: &mut Transaction<'_>, row: i64, new: Turn, images: &[Image]) -> Result<()> {
        let Some(before) = turns::get(tx, row)?.filter(|_| !self.stored) else { return Ok(()) };
        let mut after = before.clone();
        (after.text, after.label, after.model) = (new.text, new.label, new.model.or(after.model));
        if let (Some(tool), Some(new)) = (&mut after.tool, new.tool) {
            tool.input = new.input;
        }
        let images = self.unseen_images(tx, row, images.to_vec())?;
        if after == before && images.is_empty() {
            return Ok(());
        }
        let (part, _) = turns::parts_of(row);
        self.load(tx, part)?;
        let held = self.held_models(part);
        let Some(part) = self.parts.get_mut(&part) else { return Ok(()) };
        part.wrote(files::written_by(&after, self.context.cwd.as_deref()));
        part.revise(tx, &before, &mut after, &images)?;
        // Nearly always the first model of a session's only one.
        let one = before.model.is_none() && part.session.models.iter().eq(after.model.iter());
        if before.model != after.model && !one {
            part.name_models(tx, held)?;
        }
        Ok(())
    }

    /// The models of a part's turns that are not written yet, by the turns' numbers.
    fn held_models(&self, part: i64) -> Vec<(u32, String)> {
        let waiting = self.pending.values().flat_map(|calls| &calls.waiting).filter(|p| p.part == part);
        let model = |p: &Pending| match &p.place {
            Place::Held { turn, .. } => turn.model.clone().map(|model| (turn.number, model)),
            Place::Stored { .. } | Place::Done { .. } | Place::Forgotten { .. } => None,
        };
        waiting.filter_map(model).collect()
    }

    /// Those of a record's pictures that a stored turn does not have.
    pub(super) fn unseen_images(&self, tx: &Transaction<'_>, row: i64, images: Vec<Image>) -> Result<Vec<Image>> {
        let mut unseen = Vec::new();
        for image in images {
            if !visuals::turn_has(tx, row, &visuals::digest(&image.bytes))? {
                unseen.push(image);
            }
        }
        Ok(unseen)
    }

    fn held(&mut self, id: &Id) -> Option<(&String, &mut Pending)> {
        self.pending
            .iter_mut()
            .flat_map(|(call_id, calls)| calls.waiting.iter_mut().map(move |p| (call_id, p)))
            .find(|(_, p)| matches!(&p.place, Place::Held { id: held, .. } if held == id))
    }

    fn is_held_in_this_form(&mut self, id: &Id, turn: &Turn) -> bool {
        matches!(self.held(id), Some((_, Pending { place: Place::Held { turn: held, .. }, .. }))
            if content(held) == content(turn) && held.model == turn.model)
    }

    /// A call that waits for its result comes again. Under another id of a call, as a damaged log has it, it waits for that one's result
    /// too: as it does when all this is read a second time.
    pub(super) fn repeat_held(
        &mut self,
        tx: &mut Transaction<'_>,
        id: &Id,
        call_id: Option<String>,
        repeated: Repeated,
    ) -> Result<()> {
        self.met.live = true;
        let Some((held_under, Pending { part, place: Place::Held { turn, .. }, .. })) = self.held(id) else {
            return Ok(());
        };
        if call_id.as_ref() == Some(held_under) {
            return Ok(());
        }
        let row = turns::row_of(*part, turn.number);
        self.write_held(tx, id)?;
        self.repeat_call(tx, call_id, repeated, row)
    }

    /// Writes a call that waits for its result, which will be added to it.
    fn write_held(&mut self, tx: &mut Transaction<'_>, id: &Id) -> Result<()> {
        if !self.held_ids.remove(id) {
            return Ok(());
        }
        let Some((call_id, pending)) = self.held(id) else { return Ok(()) };
        let (row, call_id) = (pending.part, call_id.clone());
        let Place::Held { turn, .. } = &pending.place else { return Ok(()) };
        let mut turn = turn.clone();
        pending.place = Place::Stored { number: turn.number };
        self.load(tx, row)?;
        self.parts.get_mut(&row).map_or(Ok(()), |part| part.write(tx, id, &mut turn, Some(&call_id), &[]))
    }
}

/// Whether two turns have one name: a revision never renames a file.
fn same_name(stored: &Turn, new: &Turn) -> bool {
    let tool = |turn: &Turn| turn.tool.as_ref().map(|t| t.name.clone());
    stored.role == new.role && tool(stored) == tool(new)
}
