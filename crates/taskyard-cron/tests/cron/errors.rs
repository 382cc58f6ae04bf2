//! Errors of invalid texts, and warnings about valid ones that are probably not intended.

use taskyard_cron::{Cron, CronError, Options, Rule};

/// A text whose invalid part is between `[` and `]`, the field, and a part of the message.
const WRONG: [(&str, &str, &str); 75] = [
    ("[]", "", "the schedule is empty"),
    (" \t[]", "", "the schedule is empty"),
    ("* * * *[]", "", "4 fields where five are needed"),
    ("5[]", "", "1 field where five are needed"),
    ("* * * * * * [*]", "", "7 fields are too many"),
    ("* * * * * * [2026 x]", "", "8 fields are too many"),
    ("[60] * * * *", "minute", "60 is over the minute field's largest value, 59"),
    ("[60] 0 0 * * *", "second", "60 is over"),
    ("0 [24] * * *", "hour", "24 is over"),
    ("0 0 [0] * *", "day-of-month", "begins at 1"),
    ("0 0 [32] * *", "day-of-month", "32 is over"),
    ("0 0 1 [0] *", "month", "begins at 1"),
    ("0 0 1 [13] *", "month", "13 is over"),
    ("0 0 * * [8]", "day-of-week", "8 is over"),
    ("0 0 * * 1-[8]", "day-of-week", "8 is over"),
    ("[99999999999999999999999] * * * *", "minute", "a number over"),
    ("*/[0] * * * *", "minute", "a step of 0"),
    ("*/[000] * * * *", "minute", "a step of 0"),
    ("*/[60] * * * *", "minute", "a step of 60 is wider than the field: only 0 would be left"),
    ("*/[61] * * * *", "minute", "wider than the field"),
    ("0 */[24] * * *", "hour", "wider than the field"),
    ("0 0 */[31] * *", "day-of-month", "wider than the field: only 1 would be left"),
    ("0 0 1 */[12] *", "month", "wider than the field"),
    ("0 0 * * */[7]", "day-of-week", "wider than the field"),
    ("1-5/[99999999999] * * * *", "minute", "wider than the field"),
    ("*[/] * * * *", "minute", "a step without its number"),
    ("[/]5 * * * *", "minute", "a step without what it steps over"),
    ("1-5/2[/2] * * * *", "minute", "/2 cannot follow"),
    ("1-2[-3] * * * *", "minute", "-3 cannot follow"),
    ("[-]5 * * * *", "minute", "a range without its beginning"),
    ("5[-] * * * *", "minute", "a range without its end"),
    ("5[-]* * * * *", "minute", "a range without its end"),
    ("*[-5] * * * *", "minute", "-5 cannot follow"),
    ("*[5] * * * *", "minute", "5 cannot follow"),
    ("*[*] * * * *", "minute", "* cannot follow"),
    ("1,[,]2 * * * *", "minute", "a list has an empty item"),
    ("1[,] * * * *", "minute", "a list has an empty item"),
    ("[,]1 * * * *", "minute", "a list has an empty item"),
    ("[,] * * * *", "minute", "a list has an empty item"),
    ("0 0 * * [,]", "day-of-week", "a list has an empty item"),
    ("[SUN] * * * *", "minute", "SUN is a value of the day-of-week field"),
    ("0 0 [MAR] * *", "day-of-month", "MAR is a value of the month field"),
    ("0 0 [1JAN] * *", "day-of-month", "a number and a word run together"),
    ("0 0 1 JAN-[FOO] *", "month", "FOO is not a value"),
    ("0 0 1 [SEPT] *", "month", "SEPT is not a value"),
    ("0 0 * * [TUES]", "day-of-week", "TUES is not a value"),
    ("0 0 [31L] * *", "day-of-month", "L cannot follow a number here"),
    ("0 0 L-[0] * *", "day-of-month", "L goes back by 1 to 30 days"),
    ("0 0 L-[31] * *", "day-of-month", "L goes back by 1 to 30 days"),
    ("0 0 L[-] * *", "day-of-month", "is missing"),
    ("0 0 L[/2] * *", "day-of-month", "/2 cannot follow"),
    ("0 0 15W[-20] * *", "day-of-month", "-20 cannot follow"),
    ("0 0 [W] * *", "day-of-month", "W needs a day"),
    ("[L] * * * *", "minute", "L is not a value"),
    ("0 0 * * [L]", "day-of-week", "L needs a weekday"),
    ("0 0 * * [15W]", "day-of-week", "W is allowed in the day-of-month field only"),
    ("0 0 * * FRI#[6]", "day-of-week", "the first to the fifth"),
    ("0 0 * * FRI#[0]", "day-of-week", "the first to the fifth"),
    ("0 0 * * FRI[#]", "day-of-week", "# without its number"),
    ("0 0 * * *[#2]", "day-of-week", "#2 cannot follow"),
    ("0 0 [5]#2 * *", "day-of-month", "# is allowed in the day-of-week field only"),
    ("[?] * * * *", "minute", "? has no meaning"),
    ("0 0 1,[?] * *", "day-of-month", "? must be alone"),
    ("[H] * * * *", "minute", "H needs a seed"),
    ("[@nightly]", "", "@nightly is not known"),
    ("@daily [5 x]", "", "nothing may follow @daily"),
    ("@every[]", "", "needs an interval"),
    ("@every [55]", "", "a number without its unit"),
    ("@every [1d]", "", "days and weeks are not units"),
    ("@every 5m[1h]", "", "each unit comes once"),
    ("@every [0s]", "", "an interval of zero"),
    ("TZ=[Europe/Berln] 0 0 * * *", "", "no time zone is called Europe/Berln"),
    ("TZ=[Etc/Unknown] 0 0 * * *", "", "no time zone is called Etc/Unknown"),
    ("TZ=[] 0 0 * * *", "", "name is missing"),
    ("TZ=UTC[]", "", "no schedule follows"),
];

fn check(marked: &str, field: &str, message: &str) {
    let (start, end) = (marked.find('[').unwrap(), marked.find(']').unwrap() - 1);
    let text = marked.replace(['[', ']'], "");
    let error = match Rule::parse(&text) {
        Err(error) => error,
        Ok(rule) => panic!("{text}: {rule:?}"),
    };
    assert!(error.message().contains(message), "{text}: {error}");
    assert_eq!(error.field().unwrap_or(""), field, "{text}: {error}");
    assert_eq!(error.span(), start..end, "{text}\n{}", error.diagram());
    assert_eq!(error.text(), text);
    assert!(!error.help().is_empty() && error.to_string().contains(error.help()));
}

#[test]
fn every_error_tells_what_and_where() {
    for (marked, field, message) in WRONG {
        check(marked, field, message);
    }
}

#[test]
fn dates_that_never_come_are_refused_at_once() {
    for (marked, message) in [
        ("0 0 [30] 2 *", "February never has such a day"),
        ("0 0 [31] 4,6 *", "neither April nor June ever has such a day"),
        ("0 0 [31] 2,4,6,9,11 *", "neither February, April, June, September nor November"),
        ("0 0 [31W] 2 *", "February never has such a day"),
        ("0 0 [30,31] 2 ?", "February never has such a day"),
        ("0 0 [L-29] 2 *", "February never has such a day"),
        ("0 0 [L-30] 4 *", "April never has such a day"),
    ] {
        check(marked, "day-of-month", message);
    }
    let both = Options { day_and: true, ..Options::default() };
    for text in ["0 0 1 * 1#2", "0 0 8-31 * SUN#1", "0 0 LW * SAT", "0 0 15W * 0,6", "0 0 1 2 SUN#5", "0 0 30 2 1"] {
        let error = Cron::parse_with(text, &both).unwrap_err();
        assert!(error.message().contains("no day of any year") || error.field() == Some("day-of-month"), "{error}");
    }
    for text in ["0 0 29 2 1", "0 0 29 2 1#5", "0 0 L 2 2#5", "0 0 31 12 SUN", "0 0 1W * 1#1"] {
        assert!(Cron::parse_with(text, &both).is_ok(), "{text}");
    }
    assert!(Cron::parse("0 0 31 2 0").is_ok() && Cron::parse("0 0 * 2 1#5").is_ok());
}

#[test]
fn characters_that_no_schedule_has() {
    for (text, at, message) in [
        ("\0 * * * *", 0..1, "a control character (U+0000)"),
        ("0 0 * *\n* *", 7..8, "a line break"),
        ("0 \u{1b}[31m * * *", 2..3, "a control character (U+001B)"),
        ("\u{ff11} * * * *", 0..3, "(U+FF11) is not an ASCII digit"),
        ("*\u{a0}* * * *", 1..3, "a space that is not the plain one (U+00A0)"),
        ("0 0 * * m\u{e4}r", 9..11, "\u{e4} (U+00E4) has no meaning"),
        ("0 0 \u{202e} * *", 4..7, "a character without a meaning here (U+202E)"),
    ] {
        let error = Cron::parse(text).unwrap_err();
        assert!(error.message().contains(message), "{error}");
        assert_eq!(error.span(), at, "{error}");
        assert!(error.diagram().chars().all(|character| character == '\n' || !character.is_control()), "{error}");
        assert!(!error.diagram().contains('\u{202e}') && !error.to_string().contains('\u{202e}'));
    }
}

#[test]
fn long_texts_are_refused_and_not_kept() {
    let all: Vec<String> = (0..60).map(|minute| minute.to_string()).collect();
    assert!(Cron::parse(&format!("{} {} * * *", all.join(","), all[..24].join(","))).is_ok());
    for text in ["1,".repeat(100_000), "*".repeat(1_001), "\u{20ac}".repeat(400)] {
        let error = Cron::parse(&text).unwrap_err();
        assert!(error.message().contains("more than 1000"), "{error}");
        assert!(error.text().len() <= 60 && text.starts_with(error.text()) && error.diagram().len() < 400);
    }
}

#[test]
fn an_error_is_small_and_shows_the_place() {
    assert_eq!(size_of::<CronError>(), size_of::<usize>());
    let error = Cron::parse("0\t9 * JAN-DEX *").unwrap_err();
    assert_eq!(
        error.diagram(),
        "DEX is not a value of the month field\n  0 9 * JAN-DEX *\n            ^^^\nmonths go from 1 to 12, or JAN to DEC"
    );
    assert_eq!(
        error.to_string(),
        "DEX is not a value of the month field (month field, character 11); months go from 1 to 12, or JAN to DEC"
    );
    let error = Rule::parse("TZ=UTC @reboot").unwrap_err();
    assert!(error.message().contains("@reboot has no time zone"), "{error}");
}

#[test]
fn warnings_tell_what_is_legal_but_hardly_meant() {
    for (text, expected) in [
        ("*/7 * * * *", &["7 does not divide 60: from minute 56 to the next minute 0 it is 4, not 7"][..]),
        ("0 */5 * * *", &["5 does not divide 24: from hour 20 to the next hour 0 it is 4, not 5"]),
        ("3/7 * * * *", &["7 does not divide 60: from minute 59 to the next minute 3 it is 4, not 7"]),
        ("*/7 * * * * *", &["7 does not divide 60: from second 56 to the next second 0 it is 4, not 7"]),
        ("0 0 */2 * *", &["every month begins again at day 1: this is not every 2 days"]),
        ("0 0 1 */5 *", &["5 does not divide 12: every year begins again at month 1"]),
        ("0 0 * * */2", &["every week begins again at weekday 0: this is not every 2 days"]),
        ("59/15 * * * *", &["the step 15 is never taken: this is 59 alone"]),
        ("10-20/15 * * * *", &["the step 15 is never taken: this is 10 alone"]),
        ("0 0 1-31 * MON", &["admits every day, so the day-of-week field changes nothing"]),
        ("0 0 15 * 0-6", &["admits every day, so the day-of-month field changes nothing"]),
        ("0 0 *,5 * MON", &["admits every day, so the day-of-week field changes nothing"]),
        ("0 0 13 * FRI", &["a day is admitted by day-of-month or by day-of-week, not only by both"]),
        ("0 0 31 2 0", &["only day-of-week admits days"]),
        ("0 0 31W * *", &["31W: a month without a day 31 is skipped"]),
        ("0 0 L-28 * *", &["L-28: a month of 28 days or fewer is skipped"]),
        ("0 0 31 * *", &["a month without a day 31 is skipped"]),
        ("0 0 30,L * *", &[]),
        ("0 0 31 1,3 *", &[]),
        ("0 0 29 2 *", &[]),
        ("*/15 */6 1-31 */3 *", &[]),
        ("5/15 * * * *", &[]),
        ("0 9-17/2 * * MON-FRI", &[]),
        ("0 0 1-31/1 * ?", &[]),
        ("@daily", &[]),
    ] {
        let cron = Cron::parse(text).unwrap();
        let found: Vec<&str> = cron.warnings().iter().map(|warning| warning.message()).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        for (found, expected) in cron.warnings().iter().zip(expected) {
            assert!(found.message().contains(expected), "{text}: {found}");
            assert!(!text[found.span()].contains(' ') && !found.span().is_empty());
            assert!(found.to_string().starts_with(found.field()));
        }
    }
    let star = Cron::parse("0 0 */2 * MON").unwrap();
    assert_eq!(star.warnings().len(), 2);
    assert!(star.warnings()[1].message().contains("Vixie cron, for a field that begins with *, demands both"));
    let vixie = Options { vixie_star: true, ..Options::default() };
    assert_eq!(Cron::parse_with("0 0 */2 * MON", &vixie).unwrap().warnings().len(), 1);
}
