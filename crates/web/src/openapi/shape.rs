//! Shapes of what is sent and answered, as `data/api.txt` writes them, and the JSON Schemas of them.

use serde_json::{Value, json};

/// A shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shape {
    /// A word such as `text`.
    Plain(&'static str),
    /// One of these words.
    OneOf(Vec<String>),
    /// A named one.
    Named(String),
    /// A list.
    List(Box<Shape>),
    /// An object: name, whether it may be missing, shape; and the shape of all other fields, where there may be some.
    Object(Vec<(String, bool, Shape)>, Option<Box<Shape>>),
    /// It, or null.
    OrNull(Box<Shape>),
}

impl Shape {
    /// Reads a whole text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let shape = Self::take(&mut rest, 0)?;
        if rest.is_empty() { Ok(shape) } else { Err(format!("what is {rest:?}?")) }
    }

    fn take(rest: &mut &str, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err("too deep".to_owned());
        }
        let mut shape = if eats(rest, "[") {
            let inner = Self::take(rest, depth + 1)?;
            must(rest, "]")?;
            Self::List(Box::new(inner))
        } else if eats(rest, "{") {
            Self::object(rest, depth)?
        } else {
            let word = word(rest);
            match PLAIN.iter().find(|(plain, _)| *plain == word) {
                Some((plain, _)) => Self::Plain(plain),
                None if word == "one" => {
                    must(rest, "(")?;
                    let (words, behind) = rest.split_once(')').ok_or("a list of words has no end")?;
                    *rest = behind.trim_start();
                    Self::OneOf(words.split_whitespace().map(str::to_owned).collect())
                }
                None if word.starts_with(|c: char| c.is_ascii_uppercase()) => Self::Named(word.to_owned()),
                None => return Err(format!("{word:?} is no shape, before {rest:?}")),
            }
        };
        if eats(rest, "?") {
            shape = Self::OrNull(Box::new(shape));
        }
        Ok(shape)
    }

    fn object(rest: &mut &str, depth: usize) -> Result<Self, String> {
        let (mut fields, mut others) = (Vec::new(), None);
        while !eats(rest, "}") {
            if eats(rest, "*") {
                must(rest, ":")?;
                others = Some(Box::new(Self::take(rest, depth + 1)?));
            } else {
                let name = word(rest).to_owned();
                let may_be_missing = eats(rest, "?");
                must(rest, ":")?;
                fields.push((name, may_be_missing, Self::take(rest, depth + 1)?));
            }
            if !eats(rest, ",") && !rest.starts_with('}') {
                return Err(format!("a field ends with , or }}, before {rest:?}"));
            }
        }
        Ok(Self::Object(fields, others))
    }

    /// Its JSON Schema.
    pub(super) fn schema(&self) -> Value {
        match self {
            Self::Plain(word) => {
                PLAIN.iter().find(|(plain, _)| plain == word).map_or(json!({}), |(_, schema)| schema())
            }
            Self::OneOf(words) => json!({ "type": "string", "enum": words }),
            Self::Named(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
            Self::List(of) => json!({ "type": "array", "items": of.schema() }),
            Self::OrNull(of) => json!({ "anyOf": [of.schema(), { "type": "null" }] }),
            Self::Object(fields, others) => {
                let schemas: serde_json::Map<String, Value> =
                    fields.iter().map(|(name, _, shape)| (name.clone(), shape.schema())).collect();
                let required: Vec<&String> =
                    fields.iter().filter(|(_, may_be_missing, _)| !may_be_missing).map(|(name, ..)| name).collect();
                let others = others.as_ref().map_or(json!(false), |others| others.schema());
                json!({
                    "type": "object", "properties": schemas, "required": required, "additionalProperties": others,
                })
            }
        }
    }

    /// The names of shapes that it names.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Plain(_) | Self::OneOf(_) => Vec::new(),
            Self::Named(name) => vec![name],
            Self::List(of) | Self::OrNull(of) => of.names(),
            Self::Object(fields, others) => {
                let others = others.iter().map(AsRef::as_ref);
                fields.iter().map(|(.., shape)| shape).chain(others).flat_map(Self::names).collect()
            }
        }
    }
}

fn word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    *rest = behind.trim_start();
    word
}

fn eats(rest: &mut &str, sign: &str) -> bool {
    let Some(behind) = rest.strip_prefix(sign) else { return false };
    *rest = behind.trim_start();
    true
}

fn must(rest: &mut &str, sign: &str) -> Result<(), String> {
    if eats(rest, sign) { Ok(()) } else { Err(format!("{sign} is missing, before {rest:?}")) }
}

/// A plain word and its schema.
type Word = (&'static str, fn() -> Value);

/// All of them.
const PLAIN: &[Word] = &[
    ("text", || json!({ "type": "string" })),
    ("int", || json!({ "type": "integer" })),
    ("bool", || json!({ "type": "boolean" })),
    ("any", || json!({})),
    ("hex", || json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })),
    ("uid", || json!({ "type": "string", "maxLength": 64 })),
    ("day", || json!({ "type": "string", "format": "date" })),
    ("ms", || json!({ "type": "integer", "minimum": 0, "description": "milliseconds since 1970" })),
];
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_read_to_its_end_or_not_at_all() {
        let shape = Shape::read("{id: hex, of?: [one(a b-c)]?, *: Other}").unwrap();
        assert_eq!(shape.names(), ["Other"]);
        let schema = shape.schema();
        assert_eq!(
            (&schema["required"], &schema["additionalProperties"]["$ref"]),
            (&json!(["id"]), &json!("#/components/schemas/Other"))
        );
        assert_eq!(schema["properties"]["of"]["anyOf"][0]["items"]["enum"], json!(["a", "b-c"]));
        assert_eq!(Shape::read("{}").unwrap().schema()["additionalProperties"], json!(false));
        for bad in ["", "txt", "[text", "{a text}", "{a: text", "text text", "one(a", &"[".repeat(99)] {
            assert!(Shape::read(bad).is_err(), "{bad}");
        }
    }
}
