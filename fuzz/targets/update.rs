//! A job's life out of arbitrary lines: each is an update, reported one after the other. No panic, and every
//! state is sound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_protocol::{Epoch, Fold, JobId, Origin, Problem, State, Timestamp, Update, fold};

fuzz_target!(|bytes: &[u8]| {
    let job = JobId::parse("j1").expect("a job id");
    let mut present: Option<State> = None;
    // A zero byte ends an update, since a line break may stand within one.
    for (number, text) in bytes.split(|byte| *byte == 0).enumerate() {
        let _ = Update::parse(None, text);
        let update = match Update::parse(Some(&job), text) {
            Ok(update) => update,
            Err(refused) => {
                assert!(!Problem::from(refused).detail.is_empty());
                continue;
            }
        };
        let origin = if number % 3 == 2 { Origin::Publish } else { Origin::Report };
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        match fold(present.as_ref(), &update, origin, Epoch(7), now) {
            Ok(Fold::New(state)) => {
                check(&state);
                if let Some(before) = &present {
                    assert!(!(before.status().is_end() && before.attempt() == state.attempt()));
                    assert!(state.attempt() >= before.attempt());
                    assert_eq!(state.position(), before.position().next());
                }
                if state.status().is_end() {
                    let again = fold(Some(&state), &update, origin, Epoch(8), now);
                    assert_eq!(again, Ok(Fold::Repeated), "{}", state.json());
                }
                present = Some(state);
            }
            Ok(Fold::Repeated) => {
                assert!(present.as_ref().is_some_and(|state| state.status().is_end()));
            }
            Err(_) => assert!(present.is_some(), "a first update is never refused"),
        }
    }
    // What a store or another server hands over may be anything.
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(state) = State::parse(text)
    {
        let again = State::parse(state.json()).expect("read once, read again");
        assert_eq!(again, state);
        let _ = state.view();
        if let Ok(update) = Update::parse(Some(state.job()), b"{\"attempt\":4294967295}") {
            let _ = fold(
                Some(&state),
                &update,
                Origin::Publish,
                state.position().epoch,
                Timestamp::from_micros(0),
            );
        }
    }
});

fn check(state: &State) {
    assert!(!state.json().contains(['\n', '\r']));
    assert_eq!(State::parse(state.json()).as_ref(), Ok(state), "{}", state.json());
    // The view falls back to nothing only for a state that no fold made.
    let view = state.view();
    assert!(view.timestamp.is_some(), "{}", state.json());
    assert!(view.progress.is_none_or(|progress| (0.0..=1.0).contains(&progress)));
}
