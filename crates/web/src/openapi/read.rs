//! Reads `data/api.txt`; how it is written stands at its head.

use super::shape::Shape;

/// The API as it is written down.
#[derive(Debug, Default)]
pub(super) struct Api {
    pub(super) types: Vec<(String, Shape)>,
    pub(super) operations: Vec<Operation>,
}

/// What can be asked for.
#[derive(Debug, Default)]
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    /// Roles, or one of `anybody`, `known`, `person`.
    pub(super) callers: Vec<String>,
    pub(super) does: String,
    pub(super) query: Option<Shape>,
    pub(super) body: Option<Sent>,
    pub(super) answers: Vec<(u16, Answer)>,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) shape: Shape,
    pub(super) must: bool,
    pub(super) is_form: bool,
}

/// What is answered.
#[derive(Debug)]
pub(super) enum Answer {
    Nothing,
    Json(Shape),
    /// One JSON object a line.
    Lines(Shape),
    Plain,
    /// A file of this type.
    Bytes(String),
}

/// The API, or which line does not read, and why.
pub(super) fn api(text: &str) -> Result<Api, String> {
    let mut api = Api::default();
    for line in joined(text) {
        read(&mut api, &line).map_err(|why| format!("{line}: {why}"))?;
    }
    for (name, shape) in used(&api) {
        if !api.types.iter().any(|(known, _)| *known == name) {
            return Err(format!("{shape} names {name}, which is nowhere"));
        }
    }
    Ok(api)
}

/// Lines without comments; one that is deeper than the line before belongs to it.
fn joined(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut depth = 0;
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let now = line.len() - line.trim_start().len();
        let goes_on = now > depth && !is_head(line) && !lines.last().is_none_or(|before| is_operation(before));
        match lines.last_mut().filter(|_| goes_on) {
            Some(before) => {
                before.push(' ');
                before.push_str(line.trim());
            }
            None => {
                depth = now;
                lines.push(line.trim().to_owned());
            }
        }
    }
    lines
}

/// Whether a line begins a type or an operation.
fn is_head(line: &str) -> bool {
    !line.starts_with(' ')
}

fn is_operation(line: &str) -> bool {
    METHODS.iter().any(|method| line.starts_with(method))
}

fn read(api: &mut Api, line: &str) -> Result<(), String> {
    if let Some(named) = line.strip_prefix("type ") {
        let (name, shape) = named.split_once(' ').ok_or("a type has a name and a shape")?;
        api.types.push((name.to_owned(), Shape::read(shape)?));
        return Ok(());
    }
    if is_operation(line) {
        let (method, path) = line.split_once(' ').ok_or("an operation has a path")?;
        let (method, path) = (method.to_owned(), path.to_owned());
        api.operations.push(Operation { method, path, ..Operation::default() });
        return Ok(());
    }
    let operation = api.operations.last_mut().ok_or("this belongs to no operation")?;
    let (key, value) = line.split_once(':').ok_or("what is that?")?;
    let value = value.trim();
    match key {
        "for" => operation.callers = value.split_whitespace().map(str::to_owned).collect(),
        "does" => value.clone_into(&mut operation.does),
        "query" => operation.query = Some(Shape::read(value)?),
        "body" | "body?" | "form" => {
            let (must, is_form) = (key != "body?", key == "form");
            operation.body = Some(Sent { shape: Shape::read(value)?, must, is_form });
        }
        status => {
            let status = status.parse().map_err(|_| format!("what is {status:?}?"))?;
            operation.answers.push((status, answer(value)?));
        }
    }
    Ok(())
}

fn answer(value: &str) -> Result<Answer, String> {
    Ok(match value.split_once(' ') {
        _ if value.is_empty() => Answer::Nothing,
        _ if value == "plain" => Answer::Plain,
        Some(("bytes", kind)) => Answer::Bytes(kind.to_owned()),
        Some(("lines", shape)) => Answer::Lines(Shape::read(shape)?),
        _ => Answer::Json(Shape::read(value)?),
    })
}

/// Every name that is used, and where.
fn used(api: &Api) -> Vec<(String, String)> {
    let mut used = Vec::new();
    let mut note = |place: &str, shape: &Shape| {
        used.extend(shape.names().into_iter().map(|name| (name.to_owned(), place.to_owned())));
    };
    for (name, shape) in &api.types {
        note(name, shape);
    }
    for operation in &api.operations {
        let shapes = operation.query.iter().chain(operation.body.as_ref().map(|sent| &sent.shape));
        let answered = operation.answers.iter().filter_map(|(_, answer)| match answer {
            Answer::Json(shape) | Answer::Lines(shape) => Some(shape),
            Answer::Nothing | Answer::Plain | Answer::Bytes(_) => None,
        });
        shapes.chain(answered).for_each(|shape| note(&operation.path, shape));
    }
    used
}

const METHODS: [&str; 4] = ["GET ", "POST ", "PUT ", "DELETE "];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_deeper_and_what_is_wrong_is_told_with_its_line() {
        let read = api(
            "# x\ntype A {a: text,\n  b: int}\n\nGET /x/{id}\n  for: dpo admin\n  does: It.\n  200: {a: A,\n    b: int}\n  204:\n",
        );
        let read = read.unwrap();
        assert_eq!((read.types.len(), read.operations.len()), (1, 1));
        let operation = &read.operations[0];
        assert_eq!((operation.callers.len(), operation.answers.len()), (2, 2));
        for (bad, why) in
            [("GET /x\n  200: B", "nowhere"), ("  200: text", "no operation"), ("GET /x\n  when: text", "when")]
        {
            assert!(api(bad).unwrap_err().contains(why), "{bad}");
        }
    }
}
