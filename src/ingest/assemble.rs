//! Items into turns, parts and commits: the one place that writes what a log says.
//!
//! A session is written part by part; a git commit that succeeded ends a part and closes its cognitive commit. A record that
//! is stored already (a second import, a fork, a resumed copy) is recognised by its id and counts once.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use self::calls::{Calls, Pending, Place, Repeated};
use self::forgotten::{Forgetting, Met};
use super::drift::{self, Drift};
use super::part::{KnownRecords, Part};
use super::project::Resolver;
use super::raw_record::RawRecord;
use super::record::{Context, Item, NewTurn, SessionHead, Stream, Title, ToolResult};
use super::replay::{self, Admitted, Replay};
use super::summary::Counts;
use super::title;
use crate::model::{Agent, Id, Millis, Role, Tokens, Tool, ToolStatus, Turn};
use crate::render;
use crate::store::commits::{self, GitCommit, NewCommit, TitleRank};
use crate::store::index::MAX_TURNS;
use crate::store::sessions::Usage;
use crate::store::{ChangeKind, Result, Transaction, git, sessions, turns};
use crate::sync::contents;

mod calls;
mod forgotten;
mod revise;

#[cfg(test)]
mod tests;

/// What an import must remember of a file beside what its parser does.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Calls without a result: call id, turn row, shell command.
    pending: Vec<(String, i64, Option<String>)>,
    /// Copied calls whose result is stored and was not met in this file yet: call id, turn row.
    copied: Vec<(String, i64)>,
    replay: Option<replay::Memory>,
    /// The facts known here, which the parser tells only when they change.
    cwd: Option<String>,
    git_branch: Option<String>,
    git_remote: Option<String>,
    project_hash: Option<String>,
    agent_version: Option<String>,
    last_at: i64,
}

impl State {
    fn context(&self) -> Context {
        Context {
            cwd: self.cwd.clone(),
            git_branch: self.git_branch.clone(),
            git_remote: self.git_remote.clone(),
            project_hash: self.project_hash.clone(),
            agent_version: self.agent_version.clone(),
            collection: None,
            started_at: None,
        }
    }
}

/// A session's thread of turns: the session itself, or a subagent logged inside its file.
#[derive(Default)]
struct Track {
    native_id: String,
    /// For an inline subagent: the session that it belongs to.
    inline: bool,
    /// Row of the part being written.
    current: Option<i64>,
    looked_up: bool,
}

/// Which record an item comes from.
pub struct Origin<'a> {
    pub raw: &'a RawRecord,
    /// The item's place in its record.
    pub nth: usize,
}

/// Writes one log file.
pub struct Assembler {
    head: SessionHead,
    /// The log's path.
    file: String,
    tracks: HashMap<Option<String>, Track>,
    parts: HashMap<i64, Part>,
    /// Rows of parts that changed since the last save: their commits are looked at again, others are left alone.
    changed: HashSet<i64>,
    pending: HashMap<String, Calls>,
    /// An earlier import read this file's beginning: not all its calls are in `pending`.
    resumed: bool,
    held_ids: HashSet<Id>,
    replay: Replay,
    known: Option<KnownRecords>,
    /// The record at hand is stored already: what it says was said, and maybe revised since.
    stored: bool,
    /// See [`Assembler::is_older_copy`].
    older: bool,
    forgetting: Forgetting,
    /// What the turns of the record at hand are.
    met: Met,
    context: Context,
    last_at: Millis,
    /// The time of what has none: when the file was last written.
    written_at: Millis,
    titles: Vec<Title>,
    /// What messages cost, as far as it is not stored.
    usage: HashMap<Id, Usage>,
    drift: Drift,
    pub counts: Counts,
}

impl Assembler {
    /// Begins a file, or goes on with one (`state`, when its earlier part was read before).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn new(
        tx: &mut Transaction<'_>,
        head: SessionHead,
        file: &str,
        written_at: Millis,
        state: Option<&State>,
    ) -> Result<Self> {
        let (agent, native_id) = (head.agent, head.native_id.clone());
        take_over(tx, agent, &native_id)?;
        let known = if state.is_none() { Some(KnownRecords::load(tx, agent, &native_id)?) } else { None };
        let mut new = Self {
            replay: Replay::new(agent, &native_id, state.map(|s| s.replay.clone().unwrap_or_default())),
            head,
            file: file.to_owned(),
            tracks: HashMap::new(),
            parts: HashMap::new(),
            changed: HashSet::new(),
            pending: HashMap::new(),
            resumed: state.is_some(),
            held_ids: HashSet::new(),
            known,
            stored: false,
            older: false,
            forgetting: Forgetting::load(tx)?,
            met: Met::default(),
            context: Context::default(),
            last_at: Millis::default(),
            written_at,
            titles: Vec::new(),
            usage: HashMap::new(),
            drift: Drift::default(),
            counts: Counts::default(),
        };
        if let Some(state) = state {
            new.restore(state);
        }
        if let Some(part) = sessions::last_part(tx, agent, &native_id)? {
            if new.last_at == Millis::default() {
                new.last_at = part.ended_at;
            }
            new.context.git_remote = new.context.git_remote.or(sessions::hidden(tx, part.row)?.git_remote);
            new.context.cwd = new.context.cwd.or(part.cwd);
        }
        Ok(new)
    }

    fn restore(&mut self, state: &State) {
        for (call_id, row) in &state.copied {
            let (part, place) = (turns::parts_of(*row).0, Place::Done { row: *row });
            self.wait(call_id.clone(), Pending { part, shell: None, revises: false, place });
        }
        for (call_id, row, shell) in &state.pending {
            let (part, number) = turns::parts_of(*row);
            let place = Place::Stored { number };
            self.wait(call_id.clone(), Pending { part, shell: shell.clone(), revises: false, place });
        }
        self.context = state.context();
        self.last_at = Millis(state.last_at);
    }

    /// Says that a later copy of this session was read: what this one has that is not stored is added, and changes nothing else.
    pub fn is_older_copy(&mut self) {
        self.older = true;
    }

    /// Takes one record, found at this line: its items, then the record itself.
    ///
    /// # Errors
    /// When the database or a blob cannot be written.
    pub fn record(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        raw: &RawRecord,
        line: u64,
        items: Vec<Item>,
    ) -> Result<()> {
        let mut stream = Stream::Main;
        let stored = self.known.as_mut().is_some_and(|known| known.take(raw));
        self.stored = stored || self.older;
        self.met = Met::default();
        self.forgetting.next_record();
        // What is told again for the sake of what follows it has no bytes: it was counted when they were stored.
        let again = stored || raw.len() == 0;
        let unknown = if again { BTreeSet::new() } else { drift::unknown_kinds(&items) };
        for (nth, item) in items.into_iter().enumerate() {
            if let Item::Turn(NewTurn { stream: s, .. }) | Item::Result(ToolResult { stream: s, .. }) = &item {
                stream = s.clone();
            }
            // A title of a record that is stored was given already, and maybe another one since.
            if !((self.stored || self.forgetting.behind) && matches!(item, Item::Title(_))) {
                self.item(tx, projects, item, &Origin { raw, nth })?;
            }
        }
        // After the items: the record itself may name the version.
        self.drift.note(self.context.agent_version.as_deref(), unknown, line);
        self.keep_or_drop(tx, raw, stream, stored)
    }

    fn item(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        item: Item,
        origin: &Origin<'_>,
    ) -> Result<()> {
        match item {
            Item::Context(context) => self.learn(context),
            Item::Turn(new) => {
                let id = turn_id(&self.head, &new, origin);
                self.forgetting.given(id);
                for admitted in self.replay.admit(tx, new, id)? {
                    self.resolved(tx, projects, admitted)?;
                }
            }
            Item::Result(result) => self.result(tx, projects, result)?,
            Item::Usage { key, model, tokens } => {
                let row = self.part(tx, &Stream::Main)?;
                let key = usage_key(self.head.agent, &key);
                self.usage
                    .entry(key)
                    .or_insert_with(|| Usage { session_row: row, model, tokens: Tokens::default() })
                    .add(&tokens);
            }
            Item::Title(title) => self.titles.push(title),
            Item::Committed { native, made } => {
                // The call may be among those that wait until it is known whose they are.
                for admitted in self.replay.finish(tx)? {
                    self.resolved(tx, projects, admitted)?;
                }
                // The part that it is in, which may be stored since long.
                let row = match turns::row_by_id_in(tx, &native_turn_id(self.head.agent, &native))? {
                    Some(turn) => turns::parts_of(turn).0,
                    None => self.part(tx, &Stream::Main)?,
                };
                self.load(tx, row)?;
                self.git_commits(tx, projects, row, &Stream::Main, &[made])?;
            }
            Item::Ignored { kind, known } => self.counts.ignored(kind, known),
        }
        Ok(())
    }

    fn learn(&mut self, new: Context) {
        let known = &mut self.context;
        known.cwd = new.cwd.or(known.cwd.take());
        known.git_branch = new.git_branch.or(known.git_branch.take());
        known.git_remote = new.git_remote.or(known.git_remote.take());
        known.project_hash = new.project_hash.or(known.project_hash.take());
        known.collection = new.collection.or(known.collection.take());
        known.agent_version = new.agent_version.or(known.agent_version.take());
        if let Some(at) = new.started_at
            && self.last_at == Millis::default()
        {
            self.last_at = at;
        }
    }

    // --- turns -------------------------------------------------------------------------------------------------------

    fn admitted(&mut self, tx: &mut Transaction<'_>, projects: &mut Resolver, admitted: Admitted) -> Result<()> {
        match admitted {
            Admitted::Own(new, id) => self.turn(tx, projects, *new, id),
            Admitted::Copy { turn, row, .. } => {
                let (call_id, shell) = turn.call.map_or((None, None), |c| (Some(c.call_id), c.shell));
                self.repeat_call(tx, call_id, Repeated { shell, revises: false }, row)
            }
        }
    }

    fn turn(&mut self, tx: &mut Transaction<'_>, projects: &mut Resolver, new: NewTurn, id: Id) -> Result<()> {
        let at = new.at.unwrap_or_else(|| self.now());
        self.last_at = at;
        let NewTurn { stream, role, model, text, label, images, call, revises, .. } = new;
        let (call_id, shell) = call.as_ref().map_or((None, None), |c| (Some(c.call_id.clone()), c.shell.clone()));
        let tool =
            call.map(|c| Tool { name: c.name, input: c.input, output: String::new(), status: ToolStatus::Pending });
        let mut turn = Turn { number: 0, role, at, model, text, label, tool, visuals: Vec::new() };
        let id = match if revises { self.revised_turn(tx, id, &turn)? } else { self.known_turn(tx, id, &turn)? } {
            Seen::Stored(row) if revises => {
                self.revise(tx, row, turn, &images)?;
                return self.repeat_call(tx, call_id, Repeated { shell, revises }, row);
            }
            Seen::Stored(row) => return self.repeat_call(tx, call_id, Repeated { shell, revises }, row),
            Seen::Held(id) => return self.repeat_held(tx, &id, call_id, Repeated { shell, revises }),
            Seen::Forgotten(row) => return self.forgotten_call(tx, call_id, shell, row),
            Seen::New(id) => id,
        };
        let row = self.part_for_turn(tx, projects, &stream, &turn)?;
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        if part.hidden.forgotten {
            let row = part.write_forgotten(tx, &id, at)?;
            return self.forgotten_call(tx, call_id, shell, row);
        }
        self.met.live = true;
        turn.number = part.next_number();
        self.counts.new_turns += 1;
        match call_id {
            Some(call_id) if images.is_empty() => {
                part.reserve(&turn);
                self.held_ids.insert(id);
                let place = Place::Held { id, turn: Box::new(turn) };
                self.wait(call_id, Pending { part: row, shell, revises, place });
                Ok(())
            }
            call_id => {
                part.write(tx, &id, &mut turn, call_id.as_deref(), &images)?;
                if let Some(call_id) = call_id {
                    let place = Place::Stored { number: turn.number };
                    self.wait(call_id, Pending { part: row, shell, revises, place });
                }
                Ok(())
            }
        }
    }

    /// Whether a turn is stored already. The same native id with other contents is another turn: some writers give an id
    /// twice.
    fn known_turn(&self, tx: &Transaction<'_>, id: Id, turn: &Turn) -> Result<Seen> {
        // The contents are taken into account only where the id is given already.
        let distinct = || distinct(&id, &content(turn));
        let mut forgotten = None;
        for is_given in [false, true] {
            let id = if is_given { distinct() } else { id };
            if self.held_ids.contains(&id) {
                let same = self.pending.values().flat_map(|calls| &calls.waiting).any(
                    |p| matches!(&p.place, Place::Held { id: held, turn: t } if *held == id && content(t) == content(turn)),
                );
                if same {
                    return Ok(Seen::Held(id));
                }
                continue;
            }
            match turns::row_by_id_in(tx, &id)? {
                None => return Ok(forgotten.map_or(Seen::New(id), Seen::Forgotten)),
                Some(row) => match turns::get(tx, row)? {
                    Some(stored) if content(&stored) == content(turn) => return Ok(Seen::Stored(row)),
                    Some(_) => {}
                    None => forgotten = Some(row),
                },
            }
        }
        Ok(forgotten.map_or_else(|| Seen::New(distinct()), Seen::Forgotten))
    }

    /// The time of a record that has none: that of the one before.
    fn now(&self) -> Millis {
        if self.last_at == Millis::default() { self.written_at } else { self.last_at }
    }

    // --- parts and commits -------------------------------------------------------------------------------------------

    /// The part that a stream is at; made where there is none yet.
    fn part(&mut self, tx: &mut Transaction<'_>, stream: &Stream) -> Result<i64> {
        let key = match stream {
            Stream::Main => None,
            Stream::Inline(key) => Some(key.clone()),
        };
        let (agent, native, now) = (self.head.agent, &self.head.native_id, self.now());
        let track = self.tracks.entry(key).or_insert_with_key(|key| Track {
            native_id: track_native(native, key.as_deref()),
            inline: key.is_some(),
            ..Track::default()
        });
        if let Some(row) = track.current {
            self.load(tx, row)?;
            return Ok(row);
        }
        let native_id = track.native_id.clone();
        if !track.looked_up {
            take_over(tx, agent, &native_id)?;
        }
        let stored = if track.looked_up { None } else { sessions::last_part(tx, agent, &native_id)?.map(|s| s.row) };
        track.looked_up = true;
        let (row, part) = match stored {
            Some(row) => (row, Part::load(tx, row)?),
            None => {
                let inline = track.inline;
                let mut part = Part::create(tx, agent, &native_id, 1, now)?;
                self.describe(&mut part, inline);
                (part.session.row, part)
            }
        };
        if let Some(track) = self.tracks.values_mut().find(|t| t.native_id == native_id) {
            track.current = Some(row);
        }
        self.parts.entry(row).or_insert(part);
        Ok(row)
    }

    fn track_native(&self, stream: &Stream) -> String {
        match stream {
            Stream::Main => track_native(&self.head.native_id, None),
            Stream::Inline(key) => track_native(&self.head.native_id, Some(key)),
        }
    }

    /// The part that a new turn goes to: a new one when a git commit ended the last, or when it is full.
    fn part_for_turn(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        stream: &Stream,
        turn: &Turn,
    ) -> Result<i64> {
        let mut row = self.part(tx, stream)?;
        // What the agent says of the commit it just made belongs to it; the next thing done or asked begins the next part.
        let remark = matches!(turn.role, Role::Assistant | Role::System);
        let full = self.parts.get(&row).is_some_and(|p| (p.hidden.closed && !remark) || p.next_number() > MAX_TURNS);
        if full && let Some(last) = self.parts.get_mut(&row) {
            let (native_id, number) = (last.session.native_id.clone(), last.session.part + 1);
            let (kind, title) = (last.session.subagent_kind.clone(), last.session.title.clone());
            let mut part = Part::create(tx, self.head.agent, &native_id, number, turn.at)?;
            self.describe(&mut part, !matches!(stream, Stream::Main));
            part.session.subagent_kind = kind;
            // The agent names a session, not a part of it; a later name reaches all parts.
            part.session.title = title;
            row = part.session.row;
            self.parts.insert(row, part);
            if let Some(track) = self.tracks.values_mut().find(|t| t.native_id == native_id) {
                track.current = Some(row);
            }
        }
        self.update_context(row);
        if self.parts.get(&row).is_some_and(|p| p.session.commit_row.is_none() && !p.place_tried && !p.hidden.forgotten)
        {
            self.place(tx, projects, row, turn)?;
        }
        Ok(row)
    }

    fn load(&mut self, tx: &Transaction<'_>, row: i64) -> Result<()> {
        if let Entry::Vacant(place) = self.parts.entry(row) {
            place.insert(Part::load(tx, row)?);
        }
        Ok(())
    }

    fn describe(&self, part: &mut Part, inline: bool) {
        if inline {
            part.hidden.parent_native = Some(self.head.native_id.clone());
            part.session.subagent_kind = Some("task".to_owned());
        } else {
            part.hidden.parent_native = self.head.parent.clone();
            part.session.subagent_kind = self
                .head
                .parent
                .is_some()
                .then(|| self.head.subagent_kind.clone().unwrap_or_else(|| "agent".to_owned()));
            part.session.title = self.head.description.as_deref().map(title::shorten);
        }
        part.touch();
    }

    fn update_context(&mut self, row: i64) {
        let Some(part) = self.parts.get_mut(&row).filter(|part| !part.hidden.forgotten) else { return };
        let session = &mut part.session;
        // The folder a part began in names its project; branch and version are the latest.
        session.cwd = session.cwd.take().or_else(|| self.context.cwd.clone());
        replace(&mut session.git_branch, self.context.git_branch.as_ref());
        replace(&mut session.agent_version, self.context.agent_version.as_ref());
        replace(&mut part.hidden.git_remote, self.context.git_remote.as_ref());
        replace(&mut part.hidden.project_hash, self.context.project_hash.as_ref());
    }

    /// Gives a part its place in the tree: a commit of its own, or for a subagent the session that started it.
    fn place(&mut self, tx: &mut Transaction<'_>, projects: &mut Resolver, row: i64, turn: &Turn) -> Result<()> {
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        part.place_tried = true;
        let parent_native = part.hidden.parent_native.clone();
        if let Some(parent_native) = parent_native {
            // A parent in this very file is written first: its part must be in the database to be found.
            self.save_parts(tx)?;
            if let Some(part) = self.parts.get_mut(&row) {
                super::link::attach(tx, part, &parent_native, turn.at)?;
            }
            return Ok(());
        }
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        let place = super::project::Place { named: self.context.collection.as_ref(), ..part.place() };
        let project = projects.resolve(tx, &place)?;
        let (title, rank) = match turn.role {
            Role::User => prompt_title(turn),
            _ => None,
        }
        .map_or((String::new(), TitleRank::None), |t| (t, TitleRank::Prompt));
        give_commit(tx, part, project, &title, rank, turn.at)
    }

    fn git_commits(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        row: i64,
        stream: &Stream,
        found: &[GitCommit],
    ) -> Result<()> {
        let Some(last) = found.last() else { return Ok(()) };
        let main = self.part(tx, &Stream::Main)? == row;
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        if part.hidden.forgotten {
            if main && matches!(stream, Stream::Main) && part.hidden.parent_native.is_none() && !part.hidden.closed {
                part.hidden.closed = true;
                part.touch();
            }
            return Ok(());
        }
        self.counts.git_commits += found.len() as u64;
        if part.session.commit_row.is_none() && part.hidden.parent_native.is_some() {
            // A subagent whose parent is not there yet: what it committed moves with it once the parent comes.
            super::link::stand_alone(tx, projects, part)?;
        }
        let Some(commit_row) = part.session.commit_row else { return Ok(()) };
        for made in found {
            let cwd = self.context.cwd.as_deref().or(part.session.cwd.as_deref());
            let whole = cwd.and_then(|cwd| projects.whole_hash(cwd, &made.hash));
            git::add(tx, commit_row, made, whole.as_deref(), self.last_at)?;
        }
        // A subagent's commit does not cut the session that waits for it; it is noted with the commit they are both in.
        let own = matches!(stream, Stream::Main) && part.hidden.parent_native.is_none();
        if !main || !own || part.hidden.closed {
            return Ok(());
        }
        part.hidden.closed = true;
        part.touch();
        commits::close(tx, commit_row, last)?;
        self.meet(tx, commit_row, last)
    }

    /// Another session's work that ended in the same git commit is the same cognitive commit.
    fn meet(&mut self, tx: &mut Transaction<'_>, commit_row: i64, git: &GitCommit) -> Result<()> {
        self.save_parts(tx)?;
        let Some(from) = commits::get(tx, commit_row)? else { return Ok(()) };
        let other = commits::by_git_hash_but(tx, from.project_row, &git.hash, commit_row)?;
        let Some(into) = other.map(|row| commits::get(tx, row)).transpose()?.flatten() else { return Ok(()) };
        commits::merge(tx, &from, &into)?;
        // The rows changed underneath: read them again where they are needed.
        self.parts.clear();
        Ok(())
    }

    // --- saving ------------------------------------------------------------------------------------------------------

    fn raw(&mut self, tx: &mut Transaction<'_>, raw: &RawRecord, stream: &Stream, forgotten: bool) -> Result<()> {
        // A line that was too long to be read has no bytes to keep.
        if raw.len() == 0 {
            return Ok(());
        }
        let streams = if matches!(stream, Stream::Main) { vec![] } else { vec![stream.clone()] };
        for stream in streams.into_iter().chain([Stream::Main]) {
            let row = self.part(tx, &stream)?;
            let Some(part) = self.parts.get_mut(&row) else { continue };
            if forgotten || part.hidden.forgotten {
                part.forget_raw(tx, raw)?;
            } else {
                part.append_raw(tx, raw)?;
            }
        }
        Ok(())
    }

    /// Writes everything held in memory, so that the transaction can be committed here.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn save(&mut self, tx: &mut Transaction<'_>, projects: &mut Resolver) -> Result<State> {
        for admitted in self.replay.finish(tx)? {
            self.resolved(tx, projects, admitted)?;
        }
        self.decide(tx)?;
        self.store_pending(tx)?;
        self.save_parts(tx)?;
        self.save_usage(tx)?;
        let mut rows: Vec<i64> = self.changed.drain().collect();
        rows.sort_unstable();
        self.name_commits(tx, &rows)?;
        let forgotten = !self.titles.is_empty() && self.goes_on_forgotten(tx)?;
        for title in std::mem::take(&mut self.titles).into_iter().filter(|t| !forgotten || t.leaf.is_some()) {
            super::link::apply_title(tx, self.head.agent, &self.head.native_id, &title)?;
        }
        self.drift.store(tx, self.head.agent, &self.file)?;
        // Titles and links change rows: the next record reads them again.
        self.parts.clear();
        Ok(self.state())
    }

    fn state(&self) -> State {
        let Context { cwd, git_branch, git_remote, project_hash, agent_version, .. } = self.context.clone();
        let (last_at, replay) = (self.last_at.0, Some(self.replay.memory()));
        let (mut pending, mut copied) = (Vec::new(), Vec::new());
        for (call_id, waiting) in self.pending.iter().flat_map(|(id, calls)| calls.waiting.iter().map(move |p| (id, p)))
        {
            match waiting.place {
                Place::Stored { number } => {
                    pending.push((call_id.clone(), turns::row_of(waiting.part, number), waiting.shell.clone()));
                }
                Place::Done { row } | Place::Forgotten { row } => copied.push((call_id.clone(), row)),
                Place::Held { .. } => {}
            }
        }
        // In the order the calls were made.
        pending.sort_by_key(|(_, row, _)| *row);
        copied.sort_by_key(|(_, row)| *row);
        State { pending, copied, replay, cwd, git_branch, git_remote, project_hash, agent_version, last_at }
    }

    fn save_parts(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        let mut rows: Vec<i64> = self.parts.keys().copied().collect();
        rows.sort_unstable();
        for row in rows {
            if let Some(part) = self.parts.get_mut(&row).filter(|part| part.is_dirty()) {
                self.changed.insert(row);
                part.save(tx)?;
            }
        }
        Ok(())
    }

    fn save_usage(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        let mut usage: Vec<(Id, Usage)> = self.usage.drain().collect();
        for (_, usage) in &mut usage {
            if self.parts.get(&usage.session_row).is_some_and(|part| part.hidden.forgotten) {
                (usage.model, usage.tokens) = (None, Tokens::default());
            }
        }
        usage.sort_unstable_by_key(|(key, _)| *key);
        for row in sessions::add_usage(tx, &usage)? {
            self.changed.insert(row);
            tx.changes.add(ChangeKind::Session, row);
        }
        Ok(())
    }

    /// Commits take their times from their sessions, and a title from the first prompt or from git where they have none.
    fn name_commits(&mut self, tx: &mut Transaction<'_>, rows: &[i64]) -> Result<()> {
        let mut commit_rows: Vec<i64> = Vec::new();
        for row in rows {
            if let Some(session) = sessions::get(tx, *row)?
                && session.parent_row.is_none()
                && let Some(commit_row) = session.commit_row
                && !commit_rows.contains(&commit_row)
            {
                commit_rows.push(commit_row);
            }
        }
        for commit_row in commit_rows {
            commits::refresh(tx, commit_row)?;
            super::link::name_commit(tx, commit_row)?;
        }
        Ok(())
    }
}

/// Takes what is known now, if anything: nearly always what was known before.
fn replace(known: &mut Option<String>, now: Option<&String>) {
    if now.is_some() && known.as_ref() != now {
        *known = now.cloned();
    }
}

/// A session that other machines told of is this log's from here on.
fn take_over(tx: &mut Transaction<'_>, agent: Agent, native_id: &str) -> Result<()> {
    let parts = sessions::parts_of_others(tx, agent, native_id)?;
    contents::take_over(tx, &parts)
}

/// The native id of a stream of a session.
fn track_native(session: &str, inline: Option<&str>) -> String {
    inline.map_or_else(|| session.to_owned(), |key| format!("{session}/inline-{key}"))
}

enum Seen {
    New(Id),
    /// Row of the turn.
    Stored(i64),
    /// A call of this very run, of this id, whose result is not read yet.
    Held(Id),
    /// Row of a turn that is forgotten.
    Forgotten(i64),
}

/// Makes the commit that a part belongs to.
pub(super) fn give_commit(
    tx: &mut Transaction<'_>,
    part: &mut Part,
    project: i64,
    title: &str,
    rank: TitleRank,
    at: Millis,
) -> Result<()> {
    let id = commits::id_of_first(&part.session.id);
    // Another machine may have told of the commit, and not of this session yet.
    let known = commits::by_id(tx, &id)?.map(|known| known.row);
    let commit_row = match known {
        Some(row) => row,
        None => {
            let dir_name = render::commit_dir_name(at, title, &id.short());
            let dir_name = commits::free_dir_name(tx, &dir_name, &id)?;
            let new =
                NewCommit { id, project_row: project, dir_name: &dir_name, title, title_rank: rank, started_at: at };
            commits::create(tx, &new)?
        }
    };
    part.session.commit_row = Some(commit_row);
    let ordinal = sessions::next_ordinal(tx, commit_row, None)?;
    part.hidden.ordinal = ordinal;
    part.session.dir_name = render::session_dir_name(ordinal, part.session.agent, &session_short(&part.session));
    part.touch();
    if known.is_some() {
        part.save(tx)?;
        sessions::number_by_time(tx, commit_row)?;
        part.hidden.ordinal = sessions::hidden(tx, part.session.row)?.ordinal;
        part.session.dir_name = sessions::get(tx, part.session.row)?.map_or_else(String::new, |known| known.dir_name);
    }
    Ok(())
}

/// The short id in a session's directory name: the same for all its parts.
pub(super) fn session_short(session: &crate::model::Session) -> String {
    Id::derive(&[b"native", session.agent.as_str().as_bytes(), session.native_id.as_bytes()]).short()
}

pub(super) fn prompt_title(turn: &Turn) -> Option<String> {
    title::first_sentence(&turn.text)
}

/// The id of a turn before it is known whether another has it.
fn turn_id(head: &SessionHead, new: &NewTurn, origin: &Origin<'_>) -> Id {
    let agent = head.agent.as_str().as_bytes();
    match &new.native {
        Some(native) => native_turn_id(head.agent, native),
        // No id of its own: the record's bytes are its identity within its session.
        None => Id::derive(&[
            agent,
            head.native_id.as_bytes(),
            b"record",
            &origin.raw.hash().0,
            &(origin.nth as u64).to_le_bytes(),
        ]),
    }
}

/// The id of a turn by its native id.
pub(super) fn native_turn_id(agent: Agent, native: &str) -> Id {
    Id::derive(&[agent.as_str().as_bytes(), b"turn", native.as_bytes()])
}

/// What a message's cost is stored under. The part behind the colon (a request) is left out: a message's id is unique, and
/// a copy of it in another file may lack the request.
pub(super) fn usage_key(agent: Agent, key: &str) -> Id {
    let message = key.split(':').next().unwrap_or(key);
    Id::derive(&[agent.as_str().as_bytes(), b"message", message.as_bytes()])
}

/// The id of a turn whose own is another turn's already.
pub(super) fn distinct(id: &Id, content: &Id) -> Id {
    Id::derive(&[&id.0, &content.0])
}

/// What a turn says: two turns of one native id that differ here are two turns.
pub(super) fn content(turn: &Turn) -> Id {
    let tool = turn.tool.as_ref().map_or(("", ""), |t| (t.name.as_str(), t.input.as_str()));
    Id::derive(&[&[turn.role as u8], turn.text.as_bytes(), tool.0.as_bytes(), tool.1.as_bytes()])
}
