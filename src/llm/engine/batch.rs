//! Rows decoded together: checked requests in, completions out; prompts prefilled once per distinct prefix.
//!
//! Each running request has a slot of the KV cache. A new prompt takes over the longest prefix that any
//! slot already holds (of this call or an earlier one), prefills the rest, and joins the common step of one
//! token, and guesses at the next few, per row; a finished row leaves at once and a waiting request takes
//! its slot. Where a row's grammar leaves no choice its tokens are fed together and none is sampled; texts of a search
//! space begin alike, so what another slot holds of them is taken over as they grow; where every row has a choice
//! of a space before it, logits are computed of what can be chosen alone; and where those were computed before
//! (`answers`), nothing is: a text that was written before takes no slot. None of this changes a completion on the CPU,
//! where a token's logits do not depend on what is computed beside it. Limit: a prompt is prefilled before the running
//! rows go on.

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use super::lookup::{Guess, propose};
use super::{Llm, PREFILL_CHUNK};
use crate::llm::constrain::{Constraint, Grammar};
use crate::llm::decoder::{Head, Span};
use crate::llm::sampling::{Settings, sample};
use crate::llm::stop::StopRule;
use crate::llm::tokenizer::Pieces;
use crate::llm::working::Working;
use crate::llm::{Completion, Control, Finish, LlmError, Progress, Request, Stop};
use crate::python::prefix::ClassPrefix;
use crate::rng::Stream;

/// A request being written.
struct Row {
    /// Position in the call.
    request: usize,
    slot: usize,
    prompt_tokens: usize,
    cached_prompt_tokens: usize,
    /// Tokens of the completion, sampled or forced.
    sampled: usize,
    /// Prompt and completion; the cache lacks the newest sample and what its grammar made of it.
    tokens: Vec<u32>,
    /// What the grammar makes come next.
    forced: VecDeque<u32>,
    pieces: Pieces,
    stop: StopRule,
    stream: Stream,
    /// Of a class that is written from its header on: whether it can still become one.
    class: Option<ClassPrefix>,
    constraint: Option<Constraint>,
    /// What it may write beyond the working vocabulary of every row.
    beyond: Vec<u32>,
}

/// Which tokens the logits of a step are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Columns {
    /// The vocabulary.
    All,
    /// The working vocabulary.
    Working,
    /// [`Llm::choices`].
    Choices,
}

/// How the steps of a call end for one row.
enum Verdict {
    Goes,
    Ends(Finish, usize),
}

impl Row {
    /// Whether it has a choice of a search space before it.
    fn chooses(&mut self) -> bool {
        self.constraint.as_mut().and_then(Constraint::choices).is_some()
    }

    /// Writes the completion to its place; `keep` bytes of the text belong to it.
    fn finish(self, finish: Finish, keep: usize, done: &mut [Option<Completion>]) {
        let mut text = self.pieces.text;
        text.truncate(keep);
        done[self.request] = Some(Completion {
            text,
            finish,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.sampled,
            cached_prompt_tokens: self.cached_prompt_tokens,
        });
    }
}

impl Llm {
    /// Writes the completions of checked requests.
    pub(super) fn run(
        &mut self,
        requests: &[Request],
        prompts: &[Vec<u32>],
        on_progress: &mut dyn FnMut(Progress) -> Control,
    ) -> Result<Vec<Completion>, LlmError> {
        let mut done: Vec<Option<Completion>> = vec![None; requests.len()];
        let mut rows: Vec<Row> = Vec::new();
        let mut logits = Vec::new();
        if let Some(grown) = self.working.as_ref().and_then(|working| working.grown(prompts)) {
            self.answers.clear();
            self.narrow(&grown)?;
            self.working = Some(grown);
        }
        let (mut waiting, mut tokens, mut cancelled) = (0, 0, false);
        loop {
            while !cancelled && rows.len() < self.rows && waiting < requests.len() {
                let request = &requests[waiting];
                let mut row = self.admit(waiting, request, &prompts[waiting])?;
                waiting += 1;
                if request.max_tokens == 0 {
                    row.finish(Finish::Length, 0, &mut done);
                    continue;
                }
                let verdict = self.write_known(&mut row, request)?;
                tokens += row.sampled;
                if let Verdict::Ends(finish, keep) = verdict {
                    row.finish(finish, keep, &mut done);
                    continue;
                }
                self.seat(&mut row, &rows)?;
                let running = rows.len() + 1;
                let mut watch = || on_progress(Progress { tokens, rows_running: running });
                cancelled = self.prefill(row.slot, &row.tokens[..row.tokens.len() - 1], &mut watch)?;
                rows.push(row);
            }
            if cancelled || rows.is_empty() {
                break;
            }
            self.prefill_forced(&rows)?;
            let columns = self.columns(&mut rows)?;
            let guesses = self.step(&rows, requests, columns, &mut logits)?;
            let width = logits.len() / guesses.iter().map(|guess| guess.fed + 1).sum::<usize>();
            let mut logits = logits.chunks_exact(width);
            let mut going = Vec::with_capacity(rows.len());
            for (mut row, guess) in rows.into_iter().zip(guesses) {
                let before = row.sampled;
                let own: Vec<&[f32]> = logits.by_ref().take(guess.fed + 1).collect();
                let request = &requests[row.request];
                let verdict = self.advance(&mut row, request, &guess, columns, &own)?;
                tokens += row.sampled - before;
                match verdict {
                    Verdict::Goes => going.push(row),
                    Verdict::Ends(finish, keep) => row.finish(finish, keep, &mut done),
                }
            }
            rows = going;
            cancelled = on_progress(Progress { tokens, rows_running: rows.len() }) == Control::Cancel;
        }
        for mut row in rows {
            self.text.flush(&mut row.pieces)?;
            let keep = row.pieces.text.len();
            row.finish(Finish::Cancelled, keep, &mut done);
        }
        let never_started = |index: usize| Completion {
            text: String::new(),
            finish: Finish::Cancelled,
            prompt_tokens: prompts[index].len(),
            completion_tokens: 0,
            cached_prompt_tokens: 0,
        };
        Ok(done
            .into_iter()
            .enumerate()
            .map(|(index, done)| done.unwrap_or_else(|| never_started(index)))
            .collect())
    }

    /// A row for a request, still without a slot.
    fn admit(&self, index: usize, request: &Request, prompt: &[u32]) -> Result<Row, LlmError> {
        let class = request.stop == Stop::ClassComplete && begins_a_class(&request.prompt);
        let mut constraint = self.grammar.as_ref().filter(|_| class).map(Grammar::start);
        let forced = constraint.as_mut().map_or_else(|| Ok(VecDeque::new()), |it| self.forced(it))?;
        Ok(Row {
            request: index,
            slot: usize::MAX,
            prompt_tokens: prompt.len(),
            cached_prompt_tokens: prompt.len(),
            sampled: 0,
            tokens: prompt.to_vec(),
            forced,
            pieces: Pieces::default(),
            stop: StopRule::new(request.stop),
            stream: request.stream.clone(),
            class: class.then(ClassPrefix::new),
            constraint,
            beyond: self.working.as_ref().map(|working| working.beyond(prompt)).unwrap_or_default(),
        })
    }

    /// Finds a slot for a row and fills it with the longest prefix that any slot holds.
    fn seat(&mut self, row: &mut Row, rows: &[Row]) -> Result<(), LlmError> {
        let running: Vec<usize> = rows.iter().map(|row| row.slot).collect();
        // The last token is always computed: its logits are needed.
        let (slot, len) = self.claim(&row.tokens[..row.tokens.len() - 1], &running)?;
        row.slot = slot;
        row.cached_prompt_tokens = len.min(row.prompt_tokens);
        Ok(())
    }

    /// A slot that is not `running`, and how many tokens of `prefix` it now holds, and nothing else: the most
    /// that any slot held.
    pub(super) fn claim(&mut self, prefix: &[u32], running: &[usize]) -> Result<(usize, usize), LlmError> {
        let claim = self.slots.claim(if self.shares { prefix } else { &[] }, running);
        let copied = self.decoder.copy_prefix(claim.from, claim.slot, claim.len);
        copied.map_err(|error| self.compute(&error))?;
        Ok((claim.slot, claim.len))
    }

    /// Computes what is missing of `prompt`; returns whether the caller cancelled.
    pub(super) fn prefill(
        &mut self,
        slot: usize,
        prompt: &[u32],
        watch: &mut dyn FnMut() -> Control,
    ) -> Result<bool, LlmError> {
        let held = self.slots.tokens(slot).len();
        for tokens in prompt[held..].chunks(PREFILL_CHUNK) {
            let done = self.decoder.forward(&[Span { slot, tokens, logits: 0 }], &mut Vec::new());
            done.map_err(|error| self.compute(&error))?;
            self.slots.extend(slot, tokens);
            if watch() == Control::Cancel {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes what a row has to compute from a slot that holds it, where a grammar makes texts share more than prompts.
    fn take_over(&mut self, row: &Row) -> Result<(), LlmError> {
        let held = self.slots.tokens(row.slot).len();
        let wanted = &row.tokens[..row.tokens.len() - 1];
        if row.constraint.as_ref().is_none_or(|it| !it.is_space()) || !self.shares || wanted.len() <= held + 1
        {
            return Ok(());
        }
        let (from, len) = self.slots.longest(wanted, &[row.slot]);
        // A copy costs less than two tokens.
        if len > held + 1 {
            self.decoder.copy_prefix(from, row.slot, len).map_err(|error| self.compute(&error))?;
            self.slots.replace(row.slot, &wanted[..len]);
        }
        Ok(())
    }

    /// Computes long pieces that grammars made rows write, but for their last tokens, so that a step stays small.
    fn prefill_forced(&mut self, rows: &[Row]) -> Result<(), LlmError> {
        let most = (PREFILL_CHUNK / self.rows).max(1);
        for row in rows {
            self.take_over(row)?;
            if row.tokens.len() - self.slots.tokens(row.slot).len() > most {
                self.prefill(row.slot, &row.tokens[..row.tokens.len() - 1], &mut || Control::Continue)?;
            }
        }
        Ok(())
    }

    /// Of which tokens the next step's logits are needed.
    fn columns(&mut self, rows: &mut [Row]) -> Result<Columns, LlmError> {
        if self.working.is_some() {
            return Ok(Columns::Working);
        }
        let mut new = BTreeSet::new();
        for row in rows {
            let Some(choices) = row.constraint.as_mut().and_then(Constraint::choices) else {
                return Ok(Columns::All);
            };
            new.extend(choices.iter().copied().filter(|token| self.choices.binary_search(token).is_err()));
        }
        if !new.is_empty() {
            let mut choices = self.choices.clone();
            choices.extend(new);
            choices.sort_unstable();
            self.decoder.narrow(&choices).map_err(|error| self.compute(&error))?;
            self.choices = choices;
        }
        Ok(Columns::Choices)
    }

    /// Feeds every row its newest tokens and as much of a guess at the following ones as pays; the guesses are
    /// returned. `logits` gets, row by row, those after its newest token and after each one guessed: (their sum,
    /// vocabulary).
    fn step(
        &mut self,
        rows: &[Row],
        requests: &[Request],
        columns: Columns,
        logits: &mut Vec<f32>,
    ) -> Result<Vec<Guess>, LlmError> {
        let mut guesses = Vec::with_capacity(rows.len());
        let mut fed = Vec::with_capacity(rows.len());
        for row in rows {
            // The last token is never fed, so a guess must leave room for it.
            let room = requests[row.request].max_tokens - row.sampled - 1;
            let mut guess = if self.guesses { propose(&row.tokens, room) } else { Guess::default() };
            guess.fed = self.trust.worth(&guess, rows.len(), self.decoder.overhead());
            fed.push([&row.tokens[self.slots.tokens(row.slot).len()..], &guess.tokens[..guess.fed]].concat());
            guesses.push(guess);
        }
        let spans: Vec<Span<'_>> = rows
            .iter()
            .zip(&fed)
            .zip(&guesses)
            .map(|((row, tokens), guess)| Span { slot: row.slot, tokens, logits: guess.fed + 1 })
            .collect();
        let head = if columns == Columns::All { Head::Whole } else { Head::Narrow };
        self.decoder.step(&spans, head, logits).map_err(|error| self.compute(&error))?;
        Ok(guesses)
    }

    /// Writes a row's next tokens: one, one more for each guess that the one before it confirms, and what the grammar
    /// makes of them.
    fn advance(
        &mut self,
        row: &mut Row,
        request: &Request,
        guess: &Guess,
        columns: Columns,
        logits: &[&[f32]],
    ) -> Result<Verdict, LlmError> {
        let before = row.tokens.len();
        let mut verdict = Verdict::Goes;
        for (place, logits) in logits.iter().enumerate() {
            let token = match row.forced.pop_front() {
                Some(token) => token,
                None => match self.draw(row, request, columns, logits)? {
                    Some(token) => token,
                    // The newest token is fed again, for the logits that are missing.
                    None => break,
                },
            };
            verdict = self.write(row, request, token)?;
            let confirmed = place < guess.fed && row.tokens.last() == guess.tokens.get(place);
            if matches!(verdict, Verdict::Ends(..)) || !confirmed {
                break;
            }
        }
        self.trust.update(guess, &row.tokens[before..]);
        // The cache keeps what was fed and confirmed: everything but the newest token.
        let held = row.tokens.len() - 1;
        self.slots.replace(row.slot, &row.tokens[..held]);
        self.decoder.truncate(row.slot, held);
        if row.constraint.as_ref().is_some_and(Constraint::is_space) {
            self.slots.keep(row.slot);
        }
        match verdict {
            Verdict::Goes => self.write_known(row, request),
            ends => Ok(ends),
        }
    }

    /// Writes what the grammar makes come next, and what is chosen as long as the logits of the choices are known.
    fn write_known(&self, row: &mut Row, request: &Request) -> Result<Verdict, LlmError> {
        loop {
            if let Verdict::Ends(finish, keep) = self.write_forced(row, request)? {
                return Ok(Verdict::Ends(finish, keep));
            }
            let known = if self.shares && row.chooses() { self.answers.get(&row.tokens) } else { None };
            let Some(logits) = known else { return Ok(Verdict::Goes) };
            let token = self.choose(row, request, logits.to_vec())?;
            if let Verdict::Ends(finish, keep) = self.write(row, request, token)? {
                return Ok(Verdict::Ends(finish, keep));
            }
        }
    }

    /// Writes what the grammar makes come next.
    fn write_forced(&self, row: &mut Row, request: &Request) -> Result<Verdict, LlmError> {
        while let Some(token) = row.forced.pop_front() {
            let verdict = self.write(row, request, token)?;
            if matches!(verdict, Verdict::Ends(..)) {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Goes)
    }

    /// Tokens of what the grammar makes come next. The last one is left open, since it may be longer with what is
    /// chosen behind it, unless the text ends there.
    fn forced(&self, constraint: &mut Constraint) -> Result<VecDeque<u32>, LlmError> {
        let text = constraint.forced();
        if text.is_empty() {
            return Ok(VecDeque::new());
        }
        let mut tokens = self.text.encode_continuing(&text)?;
        let last = tokens.pop();
        if constraint.ends_after(&tokens, last) {
            tokens.extend(last);
        }
        Ok(tokens.into())
    }

    /// Writes one token and judges the text.
    fn write(&self, row: &mut Row, request: &Request, token: u32) -> Result<Verdict, LlmError> {
        if let Some(constraint) = &mut row.constraint {
            constraint.accept(token);
            if row.forced.is_empty() {
                row.forced = self.forced(constraint)?;
            }
        }
        row.sampled += 1;
        row.tokens.push(token);
        let ended = self.text.is_end(token);
        if ended {
            self.text.flush(&mut row.pieces)?;
        } else {
            self.text.push(&mut row.pieces, token)?;
        }
        if row.constraint.as_ref().is_some_and(Constraint::complete) {
            self.text.flush(&mut row.pieces)?;
            return Ok(Verdict::Ends(Finish::Stopped, row.pieces.text.len()));
        }
        if let Some(keep) = row.stop.complete_at(&row.pieces.text, &self.stops) {
            return Ok(Verdict::Ends(Finish::Stopped, keep));
        }
        if ended {
            return Ok(Verdict::Ends(Finish::EndOfText, row.pieces.text.len()));
        }
        if row.class.as_mut().is_some_and(|class| class.fault(&row.pieces.text).is_some()) {
            return Ok(Verdict::Ends(Finish::Abandoned, row.pieces.text.len()));
        }
        if row.sampled >= request.max_tokens {
            self.text.flush(&mut row.pieces)?;
            return Ok(Verdict::Ends(Finish::Length, row.pieces.text.len()));
        }
        Ok(Verdict::Goes)
    }

    /// Samples one of the choices of a search space, by their logits.
    fn choose(&self, row: &mut Row, request: &Request, mut logits: Vec<f32>) -> Result<u32, LlmError> {
        let settings = settings(request);
        // Sorted, so ties go to the lowest id here as well; and never so few that the order of draws were another
        // one than among all tokens.
        logits.resize(logits.len().max(request.top_k + 1), f32::NEG_INFINITY);
        let choices = row.constraint.as_mut().and_then(Constraint::choices).unwrap_or_default();
        sample(self.isa, &logits, settings, &mut row.stream)
            .and_then(|place| choices.get(place as usize).copied())
            .ok_or_else(|| self.not_finite())
    }

    fn not_finite(&self) -> LlmError {
        LlmError::NotFinite { name: self.identity.name.clone() }
    }

    /// Samples one token; nothing where the logits lack one that may be chosen.
    fn draw(
        &mut self,
        row: &mut Row,
        request: &Request,
        columns: Columns,
        logits: &[f32],
    ) -> Result<Option<u32>, LlmError> {
        let working = self.working.as_ref();
        let logits = working.map_or(Cow::Borrowed(logits), |working| working.of_row(logits, &row.beyond));
        if let Some(choices) = row.constraint.as_mut().and_then(Constraint::choices) {
            let own: Option<Vec<f32>> = choices
                .iter()
                .map(|token| match (columns, working) {
                    (Columns::Choices, _) => {
                        self.choices.binary_search(token).ok().map(|place| logits[place])
                    }
                    (_, Some(working)) => {
                        let place = working.tokens().binary_search(token);
                        Some(place.map_or(f32::NEG_INFINITY, |place| logits[place]))
                    }
                    // What has no logit is no number, which `sample` refuses.
                    _ => Some(logits.get(*token as usize).copied().unwrap_or(f32::NAN)),
                })
                .collect();
            let Some(own) = own else { return Ok(None) };
            self.answers.keep(&row.tokens, &own);
            return self.choose(row, request, own).map(Some);
        }
        if columns == Columns::Choices {
            return Ok(None);
        }
        let (settings, stream) = (settings(request), &mut row.stream);
        let token = match (&mut row.constraint, working) {
            (Some(constraint), _) => {
                let spread = |working: &Working| working.spread(&logits, self.vocabulary);
                let mut logits = working.map_or_else(|| logits.to_vec(), spread);
                constraint.apply(&mut logits);
                sample(self.isa, &logits, settings, stream)
            }
            (None, Some(working)) => sample(self.isa, &logits, settings, stream)
                .and_then(|place| working.tokens().get(place as usize).copied()),
            (None, None) => sample(self.isa, &logits, settings, stream),
        };
        token.map(Some).ok_or_else(|| self.not_finite())
    }
}

fn settings(request: &Request) -> Settings {
    Settings { temperature: request.temperature, top_p: request.top_p, top_k: request.top_k }
}

/// Whether the prompt ends with the header of a class in column 0.
fn begins_a_class(prompt: &str) -> bool {
    let header = prompt.strip_suffix('\n').and_then(|text| text.rsplit('\n').next());
    header.is_some_and(|line| line.starts_with("class ") && line.ends_with(':'))
}
