//! What the server answers to, as OpenAPI: one table gives the router and the document.
//!
//! Requests are read by the jobs' own table of parameters, forms and JSON alike, and a job's object is put together by
//! hand; so is the document, from the same tables, where a derived one would say less.

use std::sync::Arc;

use axum::{Router, routing::MethodRouter};
use serde_json::{Map, Value, json};

use super::state::Shared;
use crate::jobs::PARAMETERS;

/// A path, what answers to it, and what is said of it.
pub(super) struct Route {
    path: &'static str,
    handlers: MethodRouter<Arc<Shared>>,
    operations: Vec<Operation>,
}

/// One method of a path.
pub(super) struct Operation {
    method: &'static str,
    summary: &'static str,
    gives: Gives,
    takes_job: bool,
    query: &'static [QueryParameter],
    errors: &'static [u16],
}

/// A parameter behind the `?`.
pub(super) struct QueryParameter {
    /// Its name.
    pub(super) name: &'static str,
    /// What it says.
    pub(super) text: &'static str,
    /// What it may be.
    pub(super) takes: Takes,
}

/// What a parameter behind the `?` may be.
pub(super) enum Takes {
    /// Any text.
    Text,
    /// A whole number from the first to the second.
    Whole(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// The id of a job, or nothing.
    Id,
}

impl Takes {
    fn schema(&self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Whole(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::OneOf(words) => json!({ "enum": words }),
            Self::Id => {
                json!({ "type": "string", "pattern": "^(video_[0-7][0-9A-HJKMNP-TV-Z]{25})?$" })
            }
        }
    }
}

/// What an answer holds if nothing is wrong.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// An object by its name among the schemas.
    Object(&'static str),
    /// Something else, by its type.
    Bytes(&'static str),
}

impl Route {
    pub(super) fn new(
        path: &'static str,
        handlers: MethodRouter<Arc<Shared>>,
        operations: impl Into<Vec<Operation>>,
    ) -> Self {
        Self {
            path,
            handlers,
            operations: operations.into(),
        }
    }
}

impl Operation {
    pub(super) fn new(method: &'static str, summary: &'static str, gives: Gives) -> Self {
        Self {
            method,
            summary,
            gives,
            takes_job: false,
            query: &[],
            errors: &[],
        }
    }

    /// Which takes the parameters of a job.
    pub(super) fn takes_job(self) -> Self {
        Self {
            takes_job: true,
            errors: &[400, 408, 413, 415, 422, 429, 500, 503],
            ..self
        }
    }

    /// Which takes these.
    pub(super) fn query(self, query: &'static [QueryParameter]) -> Self {
        Self { query, ..self }
    }

    /// Which may be answered with these errors.
    pub(super) fn errors(self, errors: &'static [u16]) -> Self {
        Self { errors, ..self }
    }

    fn document(&self, path: &str) -> Value {
        let content = match self.gives {
            Gives::Object(name) => json!({ "application/json": { "schema": reference(name) } }),
            Gives::Bytes(kind) => json!({ kind: {} }),
        };
        let mut answers = Map::new();
        answers.insert(
            "200".into(),
            json!({ "description": "Done", "content": content }),
        );
        if self.query.iter().any(|one| one.name == "variant") {
            for (code, what) in [
                ("206", "A range"),
                ("304", "The client has it"),
                ("416", "No such range"),
            ] {
                answers.insert(code.into(), json!({ "description": what }));
            }
        }
        let error = json!({ "application/json": { "schema": reference("Error") } });
        for code in self.errors.iter().chain(&[401, 403]) {
            let answer = json!({ "description": "Refused", "content": error });
            answers.insert(code.to_string(), answer);
        }
        let id = path.contains("{id}").then(|| {
            json!({ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } })
        });
        let query = self.query.iter().map(|one| {
            let schema = one.takes.schema();
            json!({ "name": one.name, "in": "query", "description": one.text, "schema": schema })
        });
        let parameters: Vec<Value> = id.into_iter().chain(query).collect();
        let mut operation = json!({
            "summary": self.summary,
            "parameters": parameters,
            "responses": answers,
        });
        if self.takes_job {
            let schema = json!({ "schema": reference("Request") });
            operation["requestBody"] = json!({ "required": true, "content": {
                "application/json": schema,
                "multipart/form-data": schema,
                "application/x-www-form-urlencoded": schema,
            } });
        }
        operation
    }
}

/// The router of a table.
pub(super) fn router(routes: Vec<Route>) -> Router<Arc<Shared>> {
    let add = |router: Router<_>, route: Route| router.route(route.path, route.handlers);
    routes.into_iter().fold(Router::new(), add)
}

/// The document of a table.
pub(super) fn document(routes: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let operations = route.operations.iter();
        let operations = operations.map(|one| (one.method.into(), one.document(route.path)));
        paths.insert(route.path.into(), Value::Object(operations.collect()));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "gallop",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Clips with picture and sound from prompts: OpenAI's videos API in vLLM-Omni's dialect",
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{ "key": [] }, {}],
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn schemas() -> Value {
    // In a form every value is text, and clients write numbers as text in JSON too.
    let parameter = |(name, kind, text): (&str, &str, &str)| {
        let kinds: &[&str] = match kind {
            "string" => &["string", "null"],
            kind => &[kind, "string", "null"],
        };
        (
            name.to_string(),
            json!({ "type": kinds, "description": text }),
        )
    };
    let parameters: Map<String, Value> = PARAMETERS.into_iter().map(parameter).collect();
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let whole = json!({ "type": "integer", "minimum": 0 });
    json!({
        "Request": { "type": "object", "required": ["prompt"], "properties": parameters },
        "Error": object(&[(
            "error",
            object(&[("message", &text), ("type", &text), ("param", &text_or_null), ("code", &text)]),
        )]),
        "Job": job(),
        "JobList": object(&[
            ("object", json!({ "const": "list" })),
            ("data", json!({ "type": "array", "items": reference("Job") })),
            ("has_more", json!({ "type": "boolean" })),
            ("first_id", text_or_null.clone()),
            ("last_id", text_or_null.clone()),
        ]),
        "Deleted": object(&[
            ("id", text.clone()),
            ("object", json!({ "const": "video.deleted" })),
            ("deleted", json!({ "const": true })),
        ]),
        "Model": object(&[
            ("id", text.clone()),
            ("object", json!({ "const": "model" })),
            ("created", whole.clone()),
            ("owned_by", text.clone()),
            ("capabilities", json!({ "type": "object" })),
        ]),
        "ModelList": object(&[
            ("object", json!({ "const": "list" })),
            ("data", json!({ "type": "array", "items": reference("Model") })),
        ]),
        "State": object(&[("status", text.clone())]),
    })
}

fn op() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "number", "minimum": 0 });
    object(&[
        ("op", text.clone()),
        ("kernel", text),
        ("calls", json!({ "type": "integer", "minimum": 0 })),
        ("seconds", number.clone()),
        ("flops", number.clone()),
        ("bytes", number),
        ("floor_seconds", json!({ "type": ["number", "null"] })),
    ])
}

fn job() -> Value {
    let text = json!({ "type": "string" });
    let whole = json!({ "type": "integer", "minimum": 0 });
    let time = json!({ "type": ["integer", "null"] });
    let object_or_null = json!({ "type": ["object", "null"] });
    json!({
    "type": "object",
    "required": ["id", "object", "model", "status", "progress", "created_at", "seconds", "size", "error"],
    "properties": {
        "id": text,
        "object": { "const": "video" },
        "model": text,
        "status": { "enum": ["queued", "in_progress", "completed", "failed"] },
        "progress": { "type": "integer", "minimum": 0, "maximum": 100 },
        "created_at": whole,
        "completed_at": time,
        "expires_at": time,
        "prompt": text,
        "seconds": text,
        "size": text,
        "error": object_or_null,
        "seed": whole,
        "stage": { "type": ["string", "null"] },
        "queue_position": whole,
        "warnings": { "type": "array", "items": object(&[("code", &text), ("message", &text)]) },
        "timings": { "type": "object", "description": "Seconds of each stage" },
        "ops": {
            "type": "array",
            "description": "Time, work and, on a known GPU, least time of each kind of op; the longest first",
            "items": op(),
        },
        "preview": object_or_null,
        "file": object_or_null,
    },
    })
}

/// An object that has all of `members`.
fn object(members: &[(&str, impl std::borrow::Borrow<Value>)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let all = members.iter();
    let properties: Map<String, Value> = all
        .map(|(name, schema)| ((*name).into(), schema.borrow().clone()))
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}
