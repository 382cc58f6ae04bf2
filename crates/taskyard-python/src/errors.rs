//! From the table of errors to Python's classes: `taskyard.errors.make` knows the class of each code.

use pyo3::prelude::*;
use taskyard_core::Error;
use taskyard_server::children::frame::Refusal;

/// The Python error of one of ours.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    refused(py, &Refusal::from(error))
}

/// The Python error of a refusal.
pub fn refused(py: Python<'_>, refusal: &Refusal) -> PyErr {
    let make = || {
        let errors = py.import("taskyard.errors")?;
        errors.call_method1("make", (&refusal.code, &refusal.message, refusal.hint.as_deref()))
    };
    match make() {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// A value that can never be right.
pub fn invalid(message: impl Into<String>) -> PyErr {
    let refusal = Refusal { code: "invalid_argument".into(), message: message.into(), hint: None };
    Python::attach(|py| refused(py, &refusal))
}
