//! Places of declarations, attributes of tasks, and the threads on which bodies run.

use taskyard::{Call, task};

use super::run;

/// The documentation stays with the function that is called.
#[allow(non_snake_case, reason = "the attribute concerns the name")]
#[task]
#[must_use]
async fn Documented(to: String) -> String {
    to
}

#[task]
#[cfg(not(any()))]
pub(super) async fn there() -> u8 {
    1
}

#[task]
#[cfg(any())]
async fn not_there(of: a::Type) -> u8 {
    1
}

pub(crate) mod inside {
    use taskyard::task;

    pub(in super::super) mod deeper {
        #[taskyard::task]
        pub(crate) fn blocking(text: String) -> Result<usize, std::num::ParseIntError> {
            text.parse()
        }
    }

    #[task(local)]
    pub async fn on_its_thread() -> u32 {
        let cell = std::rc::Rc::new(1);
        tokio::task::yield_now().await;
        *cell
    }

    #[task(blocking)]
    pub(super) async fn on_a_thread_of_its_own() -> u32 {
        tokio::task::yield_now().await;
        2
    }
}

struct Mailer;

impl Mailer {
    #[task]
    async fn send(to: String) -> usize {
        to.len()
    }
}

#[task]
async fn r#move() -> u8 {
    3
}

/// A task that refers to itself.
#[task]
async fn again(left: u32) -> u32 {
    let _: Call<u32> = again(left);
    left
}

macro_rules! declare {
    ($name:ident, $type:ty) => {
        #[task]
        async fn $name(value: $type, list: Vec<$type>) -> $type {
            list.into_iter().fold(value, |sum, one| sum + one)
        }
    };
}

declare!(by_a_macro, u64);

#[tokio::test(flavor = "multi_thread")]
async fn tasks_stand_anywhere() {
    #[task]
    async fn in_a_function() -> u8 {
        4
    }
    assert_eq!(run(Documented("ada".into())).await.unwrap(), "ada");
    assert_eq!(run(there()).await.unwrap(), 1);
    assert_eq!(run(inside::deeper::blocking("7".into())).await.unwrap(), 7);
    assert_eq!(run(inside::on_its_thread()).await.unwrap(), 1);
    assert_eq!(run(inside::on_a_thread_of_its_own()).await.unwrap(), 2);
    assert_eq!(run(Mailer::send("ada".into())).await.unwrap(), 3);
    assert_eq!(run(r#move()).await.unwrap(), 3);
    assert_eq!(run(again(1)).await.unwrap(), 1);
    assert_eq!(run(by_a_macro(1, vec![2, 3])).await.unwrap(), 6);
    assert_eq!(run(in_a_function()).await.unwrap(), 4);
}
