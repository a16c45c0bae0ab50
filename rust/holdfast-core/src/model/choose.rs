//! Who decides at a scheduling point: depth-first search, chance, or a schedule to be replayed.

/// One thing that can happen next; the number is the index of the task concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The task does its next step (a step of its exit work if it was killed).
    Run(u8),
    /// The task's process is killed, and this task does the first step of its exit work.
    Kill(u8),
    /// The task's wait times out early (paid from `Config::timeouts`).
    Timeout(u8),
    /// The task's wait is interrupted by a signal (paid from `Config::interrupts`).
    Interrupt(u8),
    /// Nothing can run: the earliest deadline passes and this task's wait times out.
    Fire(u8),
}

impl Choice {
    /// Whether the environment acts (budgeted) rather than the scheduler.
    fn is_environment(self) -> bool {
        matches!(self, Choice::Kill(_) | Choice::Timeout(_) | Choice::Interrupt(_))
    }
}

/// A decision taken where there was more than one possibility.
#[derive(Clone, Copy, Debug)]
struct Decision {
    taken: u8,
    of: u8,
}

/// How the chooser decides beyond the decisions already on its path.
#[derive(Clone, Debug)]
enum Mode {
    Depth,
    Random(Random),
}

/// Takes the decisions of one execution after the other and remembers them.
#[derive(Clone, Debug)]
pub(super) struct Chooser {
    mode: Mode,
    path: Vec<Decision>,
    position: usize,
    diverged: bool,
}

impl Chooser {
    /// Exhaustive: every path, the first possibility (go on with the same task) first.
    pub(super) fn depth_first() -> Self {
        Self::with(Mode::Depth)
    }

    /// Random schedules; `environment` is how many kills, timeouts and interrupts together are allowed,
    /// `changes` the most priority changes in a run.
    pub(super) fn random(seed: u64, environment: u32, changes: u32) -> Self {
        Self::with(Mode::Random(Random::new(seed, environment, changes)))
    }

    fn with(mode: Mode) -> Self {
        Self { mode, path: Vec::with_capacity(256), position: 0, diverged: false }
    }

    /// A chooser that replays the schedule of `text` (as written by `schedule`), or None if it cannot be read.
    pub(super) fn replaying(text: &str) -> Option<Self> {
        let mut chooser = Self::depth_first();
        for word in text.split_whitespace() {
            let (taken, times) = match word.split_once('x') {
                Some((taken, times)) => (taken.parse().ok()?, times.parse().ok()?),
                None => (word.parse().ok()?, 1),
            };
            // `of: 0` accepts any number of possibilities larger than `taken`.
            chooser.path.extend((0..times).map(|_: u32| Decision { taken, of: 0 }));
        }
        Some(chooser)
    }

    /// A chooser that takes the same decisions as the execution just ended.
    pub(super) fn replay(&self) -> Self {
        let mut chooser = Self::depth_first();
        chooser.path.clone_from(&self.path);
        chooser
    }

    /// The decisions of this execution as text: the index taken at every point, runs of equal ones as `0x12`.
    pub(super) fn schedule(&self) -> String {
        let taken = self.path[..self.position].iter().map(|decision| decision.taken);
        let mut runs: Vec<(u8, u32)> = Vec::new();
        for index in taken {
            match runs.last_mut() {
                Some((last, times)) if *last == index => *times += 1,
                _ => runs.push((index, 1)),
            }
        }
        let words: Vec<String> = runs
            .iter()
            .map(|&(index, times)| if times == 1 { index.to_string() } else { format!("{index}x{times}") })
            .collect();
        words.join(" ")
    }

    /// Whether a replayed decision did not fit: the program under test is not deterministic, or not the same.
    pub(super) fn diverged(&self) -> bool {
        self.diverged || self.position < self.path.len()
    }

    /// An execution of `tasks` tasks begins.
    pub(super) fn begin(&mut self, tasks: usize) {
        self.position = 0;
        self.diverged = false;
        if let Mode::Random(random) = &mut self.mode {
            self.path.clear();
            random.begin(tasks);
        }
    }

    /// Chooses one of the options (at least one) and answers its index.
    #[inline]
    pub(super) fn choose(&mut self, options: &[Choice]) -> usize {
        let of = options.len() as u8;
        if of == 1 {
            return 0;
        }
        let position = self.position;
        self.position += 1;
        if let Some(decision) = self.path.get(position) {
            if (decision.of == of || decision.of == 0) && decision.taken < of {
                return decision.taken.into();
            }
            self.diverged = true;
            return 0;
        }
        let taken = match &mut self.mode {
            Mode::Depth => 0,
            Mode::Random(random) => random.choose(options),
        };
        self.path.push(Decision { taken, of });
        taken.into()
    }

    /// Prepares the next execution; false if all have been seen (never with random schedules).
    pub(super) fn advance(&mut self) -> bool {
        if let Mode::Random(random) = &mut self.mode {
            random.length = (3 * random.length + self.position as u64 + 4) / 4;
            return true;
        }
        while let Some(last) = self.path.last_mut() {
            if last.taken + 1 < last.of {
                last.taken += 1;
                return true;
            }
            self.path.pop();
        }
        false
    }
}

/// Random schedules: by turns random walks and random priorities with a few random changes.
/// Source: Burckhardt, Kothari, Musuvathi, Nagarakatte: "A randomized scheduler with probabilistic guarantees
/// of finding bugs" (PCT), ASPLOS 2010.
#[derive(Clone, Debug)]
struct Random {
    state: u64,
    environment: u32,
    changes: u32,
    /// Decisions an execution has, smoothed over the executions so far.
    length: u64,
    walk: bool,
    /// Environment events to be expected in this run.
    wanted: u64,
    priorities: Vec<u64>,
    lowest: u64,
    /// Changes of priority to be expected in this run.
    lowerings: u64,
}

impl Random {
    fn new(seed: u64, environment: u32, changes: u32) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            environment,
            changes,
            length: 40,
            walk: false,
            wanted: 0,
            priorities: Vec::new(),
            lowest: 0,
            lowerings: 0,
        }
    }

    /// xorshift64*. Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016).
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound.max(1)
    }

    fn begin(&mut self, tasks: usize) {
        self.walk = self.below(2) == 0;
        self.wanted = self.below(u64::from(self.environment) + 1);
        if self.environment > 0 && self.below(2) == 0 {
            self.wanted = self.environment.into();
        }
        self.lowerings = self.below(u64::from(self.changes) + 1);
        self.lowest = 1 << 32;
        self.priorities.clear();
        for _ in 0..tasks {
            let priority = self.below(1 << 31) + (1 << 32);
            self.priorities.push(priority);
        }
    }

    fn choose(&mut self, options: &[Choice]) -> u8 {
        let events = options.iter().filter(|option| option.is_environment()).count() as u64;
        if events > 0 && self.below(self.length + 1) < self.wanted {
            let nth = self.below(events) as usize;
            let found = options.iter().enumerate().filter(|(_, option)| option.is_environment()).nth(nth);
            return found.map_or(0, |(index, _)| index as u8);
        }
        let schedulable = options.len() as u64 - events;
        if self.walk {
            // Runs and firings come first in the list of options.
            return self.below(schedulable) as u8;
        }
        let best = self.highest(options);
        if self.below(self.length + 1) < self.lowerings {
            if let Choice::Run(task) = options[best] {
                self.lowest -= 1;
                self.priorities[usize::from(task)] = self.lowest;
            }
            return self.highest(options) as u8;
        }
        best as u8
    }

    fn highest(&self, options: &[Choice]) -> usize {
        let ranked = options.iter().enumerate().filter_map(|(index, option)| match *option {
            Choice::Run(task) | Choice::Fire(task) => Some((self.priorities[usize::from(task)], index)),
            _ => None,
        });
        ranked.max().map_or(0, |(_, index)| index)
    }
}
