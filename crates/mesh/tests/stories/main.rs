//! Stories of a mesh that a controller leads: each sets up domains, does something to them, and asks who holds which
//! link, what is reached and by which way.
//!
//! They tell what the original's own tests of its control plane tell, and what it does not promise. Its thirty-three
//! scenarios, and where each is told:
//!
//! | of the original | here, by module, or elsewhere |
//! |---|---|
//! | `inter_group_links_created_and_claimed` | `reaching`: three domains of a full mesh; `joining`: a shared address is claimed |
//! | `subscription_routing`, `bidirectional_inter_domain_routes` | `reaching`: a name that is wanted, names of both domains |
//! | `spt_route_via_hub` | `reaching`: a spoke reaches a spoke by the hub |
//! | `multicast_no_duplicate_routes` | `reaching`: whom several want each gets one copy |
//! | `source_gateway_failover`, `dest_gateway_failover` | `failover`: the gateway that dialled, that took the link |
//! | `wildcard_route_deleted_on_node_crash` | `failover`: what a dead node wanted, a name that a foreign node announced |
//! | `route_restored_after_reconnect` | `failover`: what a dead node wanted leads there again when it is back |
//! | `app_disconnect_removes_routes` | `reaching`: when the last subscriber goes |
//! | `last_node_removes_domain_links` | `failover`: with its last node a domain loses its links |
//! | `node_crash_and_link_recovery` | `failover`: a node that crashed has its link back |
//! | `multiple_wildcard_routes_different_names` | `reaching`: several names are reached and taken back one by one |
//! | `reconnect_different_endpoint` | `failover`: a node that comes back at another address, that moves without being missed |
//! | `star_topology_hub_crash_and_recovery` | `failover`: when the hub of a star dies and is back |
//! | `segmented_star_isolates_spokes` | `segments`: spokes of a segmented star |
//! | `api_mode_topology_lifecycle` | `joining`: segments and links are added and removed one by one, a link without a segment |
//! | `config_mode_rejects_topology_mutations` | `joining`: what a document says is not edited |
//! | `link_none_auth`, `basic_auth_with_credentials` | `proofs`: a link whose ends prove themselves; there is no link without proof |
//! | `basic_wrong_credentials`, `jwt_wrong_credentials` | `proofs`: a link whose dialler, whose taker has another key |
//! | `protected_auth_without_outbound_fails` | `proofs`: where one of several nodes holds no key another holds the link |
//! | `basic_endpoint_mismatch` | `proofs`: an address behind which somebody else is |
//! | `basic_credentials_after_initial_failure` | `proofs`: a link that failed is applied when the key is right again |
//! | `jwt_with_mock_validator`, `spire` (two) | not told: links are proven by keys, clients by tokens (door-slim: tokens are asked for and their rights hold) |
//! | `add_domain_then_node_registers` | `joining`: a node of a domain that is not declared is turned away until it is |
//! | `remove_domain_kicks_connected_node` | `joining`: when a domain is removed its nodes are turned away |
//! | `cp_enforces_node_connection_params` | not told: a link's waits and signs of life are constants, the same at both ends |
//! | `multiple_northbound_and_southbound_listeners` | `joining`: channels of several listeners share what is known |
//! | `duplicate_listener_endpoint_fails_to_start` | host: two doors at one address do not start |

#![allow(clippy::unwrap_used, reason = "a test")]

mod failover;
mod joining;
mod proofs;
mod reaching;
mod segments;
mod world;
