//! Why a test failed, said again with every log: of a long output often only a part is kept.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on what a panic says is remembered by its thread.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            MESSAGE.with(|message| message.replace(format!("--- {panic}\n")));
            before(panic);
        }));
    });
}

/// What this thread's panic said, as lines of their own.
pub(super) fn failed() -> String {
    MESSAGE.with(|message| message.borrow().clone())
}
