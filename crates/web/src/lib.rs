//! The HTTP edge: DICOMweb, health, metrics. It translates and decides nothing.
//!
//! **Invariant:** no log line carries a URI, no error a value; what a caller may not see answers as absent; an instance
//! leaves as it came in, chunk by authenticated chunk.

#![forbid(unsafe_code)]

mod accept;
mod admin;
mod app;
mod audit;
mod breach;
mod care;
mod cases;
mod coding;
mod deidentify;
mod devices;
mod dicom_json;
mod doorman;
mod erase;
mod export;
mod front;
mod head;
mod health;
mod keyhost;
mod letters;
mod ohif;
mod open_answers;
mod openapi;
mod origin;
mod pace;
mod pages;
mod people;
mod places;
mod problem;
mod qido;
mod range;
mod rectify;
mod refusals;
mod rendered;
mod retention;
mod serve;
mod session;
mod small;
mod stow;
mod tokens;
mod trace;
mod traffic;
mod upload;
mod wado;
mod wado_uri;

pub use app::{App, Caller, monitor_routes, routes};
pub use devices::{
    CertificateRequest, Certified, DeskError, DeviceDesk, DeviceKey, DeviceUsual, DeviceView, NewBounds, NewDevice,
};
pub use doorman::Crowd;
pub use front::Fronts;
pub use head::Hosts;
pub use ohif::{Origins, Site, SiteError, viewer_routes};
pub use problem::Problem;
pub use rendered::Renderer;
pub use serve::{Identity, ServeError, serve_plain, serve_tls};
pub use session::{Departure, ProviderError, ProviderView, Return, SignInProviders};
