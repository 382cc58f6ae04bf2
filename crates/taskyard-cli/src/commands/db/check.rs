//! `db check [--repair]`: compares all tasks with the runnable range.

use clap::Args;
use taskyard_core::store::RangeReport;
use taskyard_terminal::{Failure, humanize};

use crate::session::{Access, Session};

/// Tasks per step.
const STEP: usize = 5_000;

/// Compare all tasks with the runnable range
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Put missing tasks back into the runnable range
    #[arg(long)]
    repair: bool,
}

impl Check {
    pub(super) async fn run(&self, session: &Session) -> Result<u8, Failure> {
        let store = session.store(if self.repair { Access::Existing } else { Access::Read }).await?;
        let mut sum = RangeReport::default();
        loop {
            let step = store.compare_ranges(sum.last, STEP, self.repair).await?;
            sum.seen += step.seen;
            sum.missing += step.missing;
            sum.repaired += step.repaired;
            sum.last = step.last;
            if sum.last.is_none() {
                break;
            }
        }
        let left = sum.missing - sum.repaired;
        let out = session.out();
        if out.is_json() {
            out.json(&serde_json::json!({"seen": sum.seen, "missing": sum.missing, "repaired": sum.repaired}))?;
        } else {
            out.line(format_args!("{} tasks were compared with the runnable range", humanize::number(sum.seen)))?;
            if sum.missing > 0 {
                out.line(format_args!(
                    "{} enqueued tasks were missing there, {} of them were put back",
                    humanize::number(sum.missing),
                    humanize::number(sum.repaired)
                ))?;
            }
            if left > 0 && !self.repair {
                out.line(format_args!("`taskyard db check --repair` puts them back; so does a running server"))?;
            }
        }
        Ok(u8::from(left > 0))
    }
}
