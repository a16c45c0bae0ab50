//! What happened in an execution, in words; written only while a failure is run again.

/// A record of one execution. Does nothing unless it is switched on.
#[derive(Debug, Default)]
pub(super) struct Trace {
    on: bool,
    lines: Vec<String>,
    words: Vec<(usize, String)>,
    /// The task whose steps are being counted, and their number.
    running: Option<(usize, u32)>,
}

/// More lines than this are not kept: an execution without progress would fill the screen.
const MOST_LINES: usize = 400;

impl Trace {
    /// Begins a new record, or none.
    pub(super) fn begin(&mut self, on: bool) {
        self.on = on;
        self.lines.clear();
        self.words.clear();
        self.running = None;
    }

    /// Whether a record is being written.
    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Gives a word a name of its own.
    pub(super) fn name(&mut self, address: usize, name: impl FnOnce() -> String) {
        if self.on && address != 0 && self.known(address).is_none() {
            self.words.push((address, name()));
        }
    }

    /// A task does a step.
    #[inline]
    pub(super) fn step(&mut self, task: usize) {
        if self.on {
            match &mut self.running {
                Some((running, steps)) if *running == task => *steps += 1,
                _ => {
                    self.flush();
                    self.running = Some((task, 1));
                }
            }
        }
    }

    /// Something else happens; `text` may ask for the name of a word.
    #[inline]
    pub(super) fn event(&mut self, text: impl FnOnce(&mut dyn FnMut(usize) -> String) -> String) {
        if self.on {
            self.flush();
            let line = text(&mut |address| self.word(address));
            self.push(line);
        }
    }

    /// The record so far, one event a line.
    pub(super) fn text(&mut self) -> String {
        self.flush();
        self.lines.join("\n")
    }

    fn known(&self, address: usize) -> Option<&String> {
        self.words.iter().find(|(known, _)| *known == address).map(|(_, name)| name)
    }

    fn word(&mut self, address: usize) -> String {
        if let Some(name) = self.known(address) {
            return name.clone();
        }
        let name = format!("word {}", self.words.len());
        self.words.push((address, name.clone()));
        name
    }

    fn flush(&mut self) {
        if let Some((task, steps)) = self.running.take() {
            self.push(format!("  task {task}: {steps} step{}", if steps == 1 { "" } else { "s" }));
        }
    }

    fn push(&mut self, line: String) {
        if self.lines.len() < MOST_LINES {
            self.lines.push(line);
        } else if self.lines.len() == MOST_LINES {
            self.lines.push("  ... (more left out)".to_owned());
        }
    }
}
