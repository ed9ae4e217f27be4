//! The OpenAPI document of an API that was read.

use super::{
    read::{Answer, Api, Operation},
    shape::Shape,
};
use serde_json::{Map, Value, json};

/// The document.
pub(super) fn of(api: &Api) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in &api.operations {
        let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = described(operation);
    }
    let mut schemas: Map<String, Value> =
        api.types.iter().map(|(name, shape)| (name.clone(), shape.schema())).collect();
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Leadglass",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The JSON API of a vault for clinical images. DICOMweb (under /dicomweb) describes itself by its \
                capabilities. What one may not see is answered as what does not exist.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "What went wrong (RFC 9457), with a stable code and the request's id.",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "__Host-leadglass" },
            },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let callers: Vec<&str> = operation.callers.iter().map(String::as_str).collect();
    let (is_open, needs_session) = (callers == ["anybody"], callers == ["person"]);
    let mut answers: Map<String, Value> =
        operation.answers.iter().map(|(status, answer)| (status.to_string(), answered(*status, answer))).collect();
    let mut refused = vec!["default"];
    refused.extend((!is_open).then_some("401"));
    refused.extend((!is_open && callers != ["known"]).then_some("403"));
    refused.extend(operation.path.contains('{').then_some("404"));
    refused.extend((operation.body.is_some() || operation.query.is_some()).then_some("400"));
    refused.extend((operation.method != "GET").then_some("409"));
    for status in refused {
        answers.insert(status.to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    let mut described = json!({
        "summary": operation.does,
        "operationId": name_of(operation),
        "description": said_of(&callers),
        "x-roles": callers,
        "parameters": parameters(operation),
        "responses": answers,
        "security": match (is_open, needs_session) {
            (true, _) => json!([{}]),
            (_, true) => json!([{ "session": [] }]),
            _ => json!([{ "token": [] }, { "session": [] }]),
        },
    });
    if let Some(sent) = &operation.body {
        let kind = if sent.is_form { "multipart/form-data" } else { "application/json" };
        described["requestBody"] =
            json!({ "required": sent.must, "content": { kind: { "schema": sent.shape.schema() } } });
    }
    described
}

fn said_of(callers: &[&str]) -> String {
    match callers {
        ["anybody"] => "For everybody.".to_owned(),
        ["known"] => "For everybody with a token or a session.".to_owned(),
        ["person"] => "For whoever is signed in as a person, about himself.".to_owned(),
        roles => format!("For the roles {}.", roles.join(", ")),
    }
}

/// `get-cases-request-letter`.
fn name_of(operation: &Operation) -> String {
    let path = operation.path.trim_start_matches("/api/v1/");
    let path: Vec<&str> = path.split(['/', '{', '}', '.']).filter(|part| !part.is_empty()).collect();
    format!("{}-{}", operation.method.to_lowercase(), path.join("-"))
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let names = operation.path.split('{').skip(1).filter_map(|part| part.split('}').next());
    let mut parameters: Vec<Value> = names
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(Shape::Object(fields, _)) = &operation.query {
        parameters.extend(fields.iter().map(|(name, may_be_missing, shape)| {
            json!({ "name": name, "in": "query", "required": !may_be_missing, "schema": shape.schema() })
        }));
    }
    parameters
}

fn answered(status: u16, answer: &Answer) -> Value {
    let description = match status {
        201 => "It was made.",
        204 => "It is done, or there is nothing to tell.",
        206 => "The part that was asked for.",
        _ => "What was asked for.",
    };
    let content = match answer {
        Answer::Nothing => return json!({ "description": description }),
        Answer::Json(shape) => json!({ "application/json": { "schema": shape.schema() } }),
        // A schema stands for one line of it.
        Answer::Lines(shape) => json!({ "application/x-ndjson": { "schema": shape.schema() } }),
        Answer::Plain => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Answer::Bytes(kind) => json!({ kind: { "schema": {} } }),
    };
    json!({ "description": description, "content": content })
}

/// As `problem.rs` writes it.
fn problem() -> Value {
    let text = || json!({ "type": "string" });
    json!({
        "type": "object",
        "properties": {
            "type": text(), "title": text(), "status": { "type": "integer" }, "code": text(), "detail": text(),
            "request_id": text(),
        },
        "required": ["type", "title", "status", "code", "detail", "request_id"],
    })
}
