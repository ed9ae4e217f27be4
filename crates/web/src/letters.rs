//! Templates of letters: the house's own in five languages, and those that a practice put in their place.

use crate::{
    App, Problem,
    app::Caller,
    cases::{kept_nowhere, officer, problem, read},
    small::Small,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use leadglass_engine::{Language, LetterTemplate, TemplateLine, TemplateName};
use serde::Deserialize;
use serde_json::{Value, json};

/// `GET /api/v1/letters`: which there are, and which are the practice's own.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let permit = officer(&caller)?;
    let lines = app.engine.letter_templates(&permit).await.map_err(|e| problem(&e))?;
    Ok(kept_nowhere(Json(lines.iter().map(told).collect::<Vec<_>>())))
}

/// `GET /api/v1/letters/{letter}/{language}`: with its text and the placeholders that it may hold.
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((letter, language)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (permit, (name, language)) = (officer(&caller)?, named(&letter, &language)?);
    let template = app.engine.letter_template(&permit, name, language).await.map_err(|e| problem(&e))?;
    Ok(kept_nowhere(Json(with_text(&template))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    text: String,
}

/// `PUT /api/v1/letters/{letter}/{language}`: the practice's own, instead of the built-in one.
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path((letter, language)): Path<(String, String)>,
    Small(sent): Small,
) -> Result<Response, Problem> {
    let (permit, (name, language)) = (officer(&caller)?, named(&letter, &language)?);
    let Own { text } = read(&sent, r#"Send {"text":"…"}: the template, with placeholders such as {date}."#)?;
    let template = app.engine.set_letter_template(&permit, name, language, &text).await.map_err(|e| problem(&e))?;
    Ok(kept_nowhere(Json(with_text(&template))))
}

/// `DELETE /api/v1/letters/{letter}/{language}`: back to the built-in one.
pub(crate) async fn reset(
    State(app): State<App>,
    caller: Caller,
    Path((letter, language)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (permit, (name, language)) = (officer(&caller)?, named(&letter, &language)?);
    app.engine.reset_letter_template(&permit, name, language).await.map_err(|e| problem(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(line: &TemplateLine) -> Value {
    json!({
        "letter": line.name,
        "language": line.language,
        "own": line.own.is_some(),
        "by": line.own.as_ref().map(|stamp| &stamp.by),
        "at_ms": line.own.as_ref().map(|stamp| stamp.at.0),
    })
}

fn with_text(template: &LetterTemplate) -> Value {
    let name = template.line.name;
    let mut told = told(&template.line);
    told["text"] = json!(template.text);
    told["built_in"] = json!(template.built_in);
    told["may_hold"] = json!(name.may_hold().collect::<Vec<_>>());
    told["must_hold"] = json!(name.must_hold());
    told
}

fn named(letter: &str, language: &str) -> Result<(TemplateName, Language), Problem> {
    let (Ok(letter), Ok(language)) = (letter.parse(), language.parse()) else { return Err(Problem::not_found()) };
    Ok((letter, language))
}
