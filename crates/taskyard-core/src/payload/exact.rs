//! A serializer that writes nothing: it walks a value, refuses what JSON would change silently, and measures its
//! nesting.
//!
//! `serde_json` writes NaN and infinities as `null`; every other value that it accepts decodes to the same value.

use serde::ser::{self, Serialize};

/// Walks `value` and returns its levels of nesting.
pub(super) fn check<T: Serialize + ?Sized>(value: &T) -> Result<usize, Refused> {
    let mut walk = Walk { level: 0, deepest: 0 };
    value.serialize(&mut walk)?;
    Ok(walk.deepest)
}

/// Returns the deepest nesting of brackets in JSON text, without recursion.
pub(super) fn nesting(json: &[u8]) -> usize {
    let (mut level, mut deepest, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in json {
        match (quoted, escaped, byte) {
            (true, true, _) => escaped = false,
            (true, false, b'\\') => escaped = true,
            (_, false, b'"') => quoted = !quoted,
            (false, _, b'[' | b'{') => {
                level += 1;
                deepest = deepest.max(level);
            }
            (false, _, b']' | b'}') => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[derive(Debug)]
pub(super) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Walk {
    level: usize,
    deepest: usize,
}

impl Walk {
    fn enter(&mut self) -> Result<&mut Self, Refused> {
        self.level += 1;
        self.deepest = self.deepest.max(self.level);
        // The caller checks the configured limit; this one only keeps a runaway value from overflowing the stack.
        if self.level > 1_000 {
            return Err(Refused(
                "it has over 1,000 levels of nested lists and objects (setting nesting_max: 64, 120 at most)".into(),
            ));
        }
        Ok(self)
    }

    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self)
    }

    fn leave(&mut self) -> Result<(), Refused> {
        self.level -= 1;
        Ok(())
    }
}

fn finite(ok: bool, value: impl std::fmt::Display) -> Result<(), Refused> {
    if ok { Ok(()) } else { Err(Refused(format!("JSON has no {value}"))) }
}

macro_rules! plain {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<(), Refused> { Ok(()) })*
    };
}

impl<'a> ser::Serializer for &'a mut Walk {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = &'a mut Walk;
    type SerializeTuple = &'a mut Walk;
    type SerializeTupleStruct = &'a mut Walk;
    type SerializeTupleVariant = &'a mut Walk;
    type SerializeMap = &'a mut Walk;
    type SerializeStruct = &'a mut Walk;
    type SerializeStructVariant = &'a mut Walk;

    plain!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_char: char, serialize_str: &str, serialize_bytes: &[u8]);

    fn serialize_f32(self, value: f32) -> Result<(), Refused> {
        finite(value.is_finite(), value)
    }
    fn serialize_f64(self, value: f64) -> Result<(), Refused> {
        finite(value.is_finite(), value)
    }
    fn serialize_none(self) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.inner(value)
    }
    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Refused> {
        self.inner(value)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        let walk = self.enter()?;
        walk.inner(value)?;
        walk.leave()
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_tuple_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.enter()
    }
    fn serialize_struct_variant(self, _: &'static str, _: u32, _: &'static str, _: usize) -> Result<Self, Refused> {
        self.enter()
    }
}

macro_rules! list {
    ($($trait:ident: $method:ident),*) => {
        $(impl ser::$trait for &mut Walk {
            type Ok = ();
            type Error = Refused;
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> { self.inner(value) }
            fn end(self) -> Result<(), Refused> { self.leave() }
        })*
    };
}

list!(SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field);

macro_rules! fields {
    ($($trait:ident),*) => {
        $(impl ser::$trait for &mut Walk {
            type Ok = ();
            type Error = Refused;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Refused> {
                self.inner(value)
            }
            fn end(self) -> Result<(), Refused> { self.leave() }
        })*
    };
}

fields!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for &mut Walk {
    type Ok = ();
    type Error = Refused;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.inner(key)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.inner(value)
    }
    fn end(self) -> Result<(), Refused> {
        self.leave()
    }
}
