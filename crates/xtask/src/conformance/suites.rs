//! The suites, where they stand in their checkouts, and what they need.

/// A suite.
pub struct Suite {
    /// Its name in commands and tables.
    pub name: &'static str,
    /// How it is run.
    pub kind: Kind,
}

/// How a suite is run. Paths are relative to the checkout.
pub enum Kind {
    /// With pytest.
    Python {
        /// The folder to run in.
        folder: &'static str,
        /// Where the tests are, relative to the folder.
        tests: &'static str,
        /// What the tests import.
        paths: &'static [&'static str],
        /// What the tests find in the environment.
        environment: &'static [(&'static str, &'static str)],
    },
    /// As test binaries of the crate `async-nats`.
    Rust {
        /// Names of the test binaries.
        tests: &'static [&'static str],
    },
}

/// The classic client runs tests for newer servers only when it is told the server's version.
const SERVER_VERSION: &[(&str, &str)] = &[("NATS_SERVER_VERSION", "v2.15.1")];

/// All of them.
pub const SUITES: &[Suite] = &[
    Suite {
        name: "nats-py",
        kind: Kind::Python { folder: "", tests: "nats/tests", paths: &["nats/src"], environment: SERVER_VERSION },
    },
    Suite {
        name: "nats-core",
        kind: Kind::Python {
            folder: "nats-core",
            tests: "tests",
            paths: &["nats-core/src", "nats-server/src"],
            environment: &[],
        },
    },
    Suite {
        name: "nats-jetstream",
        kind: Kind::Python {
            folder: "nats-jetstream",
            tests: "tests",
            paths: &["nats-jetstream/src", "nats-core/src", "nats-server/src"],
            environment: &[],
        },
    },
    Suite {
        name: "nats-key-value",
        kind: Kind::Python {
            folder: "nats-key-value",
            tests: "tests",
            paths: &["nats-key-value/src", "nats-jetstream/src", "nats-core/src", "nats-server/src"],
            environment: &[],
        },
    },
    Suite { name: "async-nats-jetstream", kind: Kind::Rust { tests: &["jetstream_tests"] } },
    Suite { name: "async-nats-kv", kind: Kind::Rust { tests: &["kv_tests"] } },
    Suite { name: "async-nats-object-store", kind: Kind::Rust { tests: &["object_store"] } },
    Suite { name: "async-nats-client", kind: Kind::Rust { tests: &["client_tests"] } },
    Suite { name: "async-nats-service", kind: Kind::Rust { tests: &["service_tests"] } },
    Suite {
        name: "async-nats-auth",
        kind: Kind::Rust { tests: &["jwt_tests", "nkey_tests", "tls_tests", "websocket_test"] },
    },
    Suite { name: "async-nats-pool", kind: Kind::Rust { tests: &["server_pool_tests", "server_pool_parity_tests"] } },
];

impl Suite {
    /// Whether it was asked for: by its name, by the beginning of its name, or because nothing was.
    pub fn is_wanted(&self, asked: &[String]) -> bool {
        let exact = |name: &String| SUITES.iter().any(|suite| suite.name == name);
        asked.is_empty()
            || asked
                .iter()
                .any(|name| if exact(name) { self.name == name } else { self.name.starts_with(name.as_str()) })
    }
}
