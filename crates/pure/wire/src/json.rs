//! Reading JSON as Go does: keys of objects that stand for structs match without regard to case, the last of equal keys
//! wins, unknown keys are ignored, and `null` leaves a field at its zero value. Keys of maps (labels) stay as they are.
//!
//! Clients rely on it: docker-py sends `{"Mode":{"replicated":{…}}}`, the docker command sends `"Labels":null`.

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde_json::Value;

/// Why a body could not be read; the words are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum BadBody {
    /// Nothing was sent.
    #[error("invalid JSON: got EOF while reading request body")]
    Empty,
    /// It is no JSON, or its values have other types than they should.
    #[error("invalid JSON: {0}")]
    Invalid(#[from] serde_json::Error),
}

impl From<BadBody> for crate::ApiError {
    fn from(bad: BadBody) -> Self {
        Self::bad_request(bad.to_string())
    }
}

/// Reads a body as Go would.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadBody> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(BadBody::Empty);
    }
    Ok(from_value(serde_json::from_slice(bytes)?)?)
}

/// The same for a value that is parsed already.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
    T::deserialize(Lenient(value))
}

struct Lenient(Value);

impl IntoDeserializer<'_, serde_json::Error> for Lenient {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

/// Scalars: `null` is the zero value, all else is the inner value's business.
macro_rules! scalars {
    ($($method:ident => $visit:ident($zero:expr)),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.0 {
                Value::Null => visitor.$visit($zero),
                value => value.$method(visitor),
            }
        })*
    };
}

impl<'de> de::Deserializer<'de> for Lenient {
    type Error = serde_json::Error;

    scalars! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_i8(0),
        deserialize_i16 => visit_i16(0),
        deserialize_i32 => visit_i32(0),
        deserialize_i64 => visit_i64(0),
        deserialize_i128 => visit_i128(0),
        deserialize_u8 => visit_u8(0),
        deserialize_u16 => visit_u16(0),
        deserialize_u32 => visit_u32(0),
        deserialize_u64 => visit_u64(0),
        deserialize_u128 => visit_u128(0),
        deserialize_f32 => visit_f32(0.0),
        deserialize_f64 => visit_f64(0.0),
        deserialize_char => visit_char('\0'),
        deserialize_str => visit_str(""),
        deserialize_string => visit_str(""),
        deserialize_bytes => visit_bytes(&[]),
        deserialize_byte_buf => visit_bytes(&[]),
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Array(items) => visit_array(items, visitor),
            Value::Object(map) => visit_entries(map.into_iter(), visitor),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visit_array(Vec::new(), visitor),
            Value::Array(items) => visit_array(items, visitor),
            other => other.deserialize_seq(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visit_entries(std::iter::empty(), visitor),
            Value::Object(map) => visit_entries(map.into_iter(), visitor),
            other => other.deserialize_map(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let map = match self.0 {
            Value::Null => serde_json::Map::new(),
            Value::Object(map) => map,
            other => return other.deserialize_map(visitor),
        };
        let mut known: Vec<(String, Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let field = fields
                .iter()
                .find(|f| **f == key)
                .or_else(|| fields.iter().find(|f| f.eq_ignore_ascii_case(&key)));
            let Some(field) = field else { continue };
            known.retain(|(earlier, _)| earlier != field);
            if !value.is_null() {
                known.push(((*field).to_owned(), value));
            }
        }
        visit_entries(known.into_iter(), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_enum(StrDeserializer::<Self::Error>::new("")),
            other => other.deserialize_enum(name, variants, visitor),
        }
    }

    serde::forward_to_deserialize_any! { unit unit_struct identifier ignored_any }
}

fn visit_array<'de, V: Visitor<'de>>(items: Vec<Value>, visitor: V) -> Result<V::Value, serde_json::Error> {
    let mut items = SeqDeserializer::new(items.into_iter().map(Lenient));
    let value = visitor.visit_seq(&mut items)?;
    items.end()?;
    Ok(value)
}

fn visit_entries<'de, V: Visitor<'de>>(
    entries: impl Iterator<Item = (String, Value)>,
    visitor: V,
) -> Result<V::Value, serde_json::Error> {
    visitor.visit_map(Entries(MapDeserializer::new(entries.map(|(key, value)| (key, Lenient(value))))))
}

/// `MapDeserializer` refuses leftovers only if asked to; derived visitors read all entries anyway.
struct Entries<'de, I: Iterator<Item = (String, Lenient)>>(MapDeserializer<'de, I, serde_json::Error>);

impl<'de, I: Iterator<Item = (String, Lenient)>> MapAccess<'de> for Entries<'de, I> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Self::Error> {
        self.0.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_model::spec::{ServiceSpec, UpdateOrder};

    fn read(text: &str) -> ServiceSpec {
        from_json(text.as_bytes()).unwrap()
    }

    #[test]
    fn keys_of_structs_match_in_any_case() {
        let spec = read(
            r#"{"name":"web","Mode":{"replicated":{"Replicas":5}},"UPDATECONFIG":{"order":"start-first"},
                "TaskTemplate":{"ContainerSpec":{"HealthCheck":{"test":["CMD","x"]}}}}"#,
        );
        assert_eq!(spec.name, "web");
        assert_eq!(spec.replicas(), Some(5));
        assert_eq!(spec.update_config.unwrap().order, UpdateOrder::StartFirst);
        let container = spec.task_template.container_spec.unwrap();
        assert_eq!(container.healthcheck.unwrap().test, ["CMD", "x"]);
    }

    #[test]
    fn keys_of_maps_are_left_alone() {
        let spec = read(r#"{"labels":{"Name":"a","NAME":"b","name":"c","x":null}}"#);
        let labels: Vec<_> = spec.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, [("NAME", "b"), ("Name", "a"), ("name", "c"), ("x", "")]);
    }

    #[test]
    fn null_is_the_zero_value_everywhere() {
        let spec = read(
            r#"{"Name":null,"Labels":null,"Mode":null,"EndpointSpec":null,"Networks":null,
                "TaskTemplate":{"ForceUpdate":null,"ContainerSpec":{"Args":null,"Env":[null,"A=1"]}}}"#,
        );
        assert_eq!(spec.task_template.container_spec.unwrap().env, ["", "A=1"]);
        assert!(spec.endpoint_spec.is_none());
    }

    #[test]
    fn an_empty_enum_value_is_the_default() {
        let spec = read(r#"{"EndpointSpec":{"Mode":"","Ports":[{"Protocol":"","TargetPort":80}]}}"#);
        assert_eq!(spec.endpoint_spec.unwrap().ports[0].target_port, 80);
    }

    #[test]
    fn the_last_of_equal_keys_wins() {
        assert_eq!(read(r#"{"Name":"a","name":"b"}"#).name, "b");
    }

    #[test]
    fn free_form_values_keep_their_keys() {
        let spec =
            read(r#"{"TaskTemplate":{"ContainerSpec":{"Privileges":{"NoNewPrivileges":true,"x":null}}}}"#);
        let kept = spec.task_template.container_spec.unwrap().privileges.unwrap();
        assert_eq!(kept, serde_json::json!({"NoNewPrivileges": true, "x": null}));
    }

    #[test]
    fn bad_bodies_are_told_apart() {
        assert!(matches!(from_json::<ServiceSpec>(b" \n"), Err(BadBody::Empty)));
        let err = from_json::<ServiceSpec>(b"{\"Name\":").unwrap_err().to_string();
        assert!(err.starts_with("invalid JSON: "), "{err}");
        let err = from_json::<ServiceSpec>(b"{\"Name\":[]}").unwrap_err().to_string();
        assert!(err.starts_with("invalid JSON: "), "{err}");
        assert!(from_json::<ServiceSpec>(b"{} {}").is_err());
        assert!(from_json::<ServiceSpec>(b"[]").is_err());
    }
}
