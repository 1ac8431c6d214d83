//! What travels: paths, parameters, bodies, shapes of answers, refusals. Pure: bytes in, values out, and back.

mod body;
pub mod duration;
mod fault;
pub mod json;
mod params;
mod route;
pub mod shape;

pub use body::{Fields, Why, parse, shown};
pub use fault::Fault;
pub use params::{Consistency, Params, Reading, decoded, truth, unsigned};
pub use route::{Endpoint, Route, route};
