//! The readers of rule text and the writer, against real clusters, published dumps, malformed text and iptables itself.

mod broken;
mod clusters;
mod corpus;
mod published;
mod restore;
