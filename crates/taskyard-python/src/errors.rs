//! Conversion of errors to Python exceptions: `taskyard.errors.make` maps each error code to its class.

use pyo3::prelude::*;
use taskyard_core::Error;
use taskyard_server::children::frame::Refusal;

/// Returns the Python exception for an error.
pub fn raised(py: Python<'_>, error: &Error) -> PyErr {
    refused(py, &Refusal::from(error))
}

/// Returns the Python exception for a refusal.
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

/// Returns the Python exception for an invalid argument.
pub fn invalid(message: impl Into<String>) -> PyErr {
    let refusal = Refusal { code: "invalid_argument".into(), message: message.into(), hint: None };
    Python::attach(|py| refused(py, &refusal))
}
