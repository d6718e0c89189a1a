//! Mirrors: what one task fetched, the next does not fetch again, and nothing
//! worse than a slow fetch comes of them.

mod bounds;
mod damaged;
mod fetched;
mod hostile;
mod remotes;
