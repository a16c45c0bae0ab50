//! Catching panics of the program under test with their place, without printing each of them.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes the panic hook keep quiet, and remember the message, wherever `catch` is under way.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                CAUGHT.with_borrow_mut(|caught| {
                    caught.get_or_insert_with(|| info.to_string());
                });
            } else {
                usual(info);
            }
        }));
    });
}

/// Runs code of the program under test outside a task; the error is the panic's message and place.
pub(super) fn catch(code: impl FnOnce()) -> Result<(), String> {
    let was = quiet(true);
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    quiet(was);
    result.map_err(|_| message())
}

/// Switches the capture of panics in this thread and answers how it stood.
pub(super) fn quiet(on: bool) -> bool {
    CATCHING.replace(on)
}

/// The message of the panic caught last.
pub(super) fn message() -> String {
    CAUGHT.with_borrow_mut(Option::take).unwrap_or_else(|| "panicked".to_owned())
}
