//! The rules that no schema can say, kind by kind.

use alloc::format;
use alloc::string::String;

use event::Pattern;

use super::address::{Cidr, address_fault, endpoint_fault, is_absolute, quoted};
use super::{
    ClaimSpec, DEFAULT_KEY, GroupSpec, HubLinkSpec, HubTls, NodeSetSpec, PartSpec, PeerSpec, PluginSpec, PluginTrigger,
    PolicySpec, PoolSpec, RepeaterTargetSpec, SloSpec, SourceSpec, SubscriptionSpec, TriggerType,
};
use crate::declared::{Judged, Report, node_set_name};

impl Judged for GroupSpec {
    fn judge(&mut self, report: &mut Report) {
        for (index, source) in self.peers_from.iter().enumerate() {
            if node_set_name(&source.resource).is_none() {
                report.fault(format!("spec.peersFrom[{index}].resource"), "must reference SAMNodeSet/<name>");
            }
        }
        if !self.listen.address.is_empty() && self.listen.port == 0 {
            report.fault("spec.listen.port", "must be 1..65535 when listen.address is set");
        }
        if !report.ours() && self.listen.address.is_empty() {
            // To routerd it is no listener.
            self.listen.port = 0;
        }
        if !self.listen.address.is_empty() && self.listen.address.parse::<core::net::IpAddr>().is_err() {
            report.strict("spec.listen.address", "must be an IP address of this machine");
        }
        if self.listen.open && !self.listen.address.is_empty() {
            report.strict("spec.listen.open", "says every address where spec.listen.address says one");
        }
        let keys = self.auth.keys.iter().map(|key| key.name.as_str());
        key_names(keys, !self.auth.secret_file.is_empty(), &self.auth.signing_key, report);
    }
}

/// Names of keys are unique, and the one that signs is among them.
fn key_names<'a>(keys: impl Iterator<Item = &'a str> + Clone, shared: bool, signing: &str, report: &mut Report) {
    for (index, name) in keys.clone().enumerate() {
        if name == DEFAULT_KEY && shared {
            report.fault(format!("spec.auth.keys[{index}].name"), "\"default\" is the name of secretFile");
        } else if keys.clone().take(index).any(|other| other == name) {
            report.fault(format!("spec.auth.keys[{index}].name"), format!("{} is there twice", quoted(name)));
        }
    }
    let known = (shared && signing == DEFAULT_KEY) || keys.clone().any(|name| name == signing);
    if !signing.is_empty() && !known {
        report.fault("spec.auth.signingKey", format!("{} is the name of no key", quoted(signing)));
    }
}

impl Judged for PeerSpec {
    fn judge(&mut self, report: &mut Report) {
        if let Some(reason) = endpoint_fault(&self.endpoint) {
            report.strict("spec.endpoint", reason);
        }
        let keys = self.auth.keys.iter().map(|key| key.name.as_str());
        key_names(keys, !self.auth.secret_file.is_empty(), &self.auth.signing_key, report);
        if self.tls.cert_file.is_empty() != self.tls.key_file.is_empty() {
            report.fault("spec.tls", "needs certFile and keyFile together");
        }
        if self.endpoint.starts_with("http://") && self.tls != super::PeerTls::default() {
            report.fault("spec.tls", "is of no use with an http endpoint; write https");
        }
    }
}

impl Judged for SubscriptionSpec {
    fn judge(&mut self, report: &mut Report) {
        let matches = &self.matches;
        if matches.types.is_empty() && matches.patterns.is_empty() {
            report.fault("spec.match.types", "is required (at least one type)");
        }
        for (index, pattern) in matches.patterns.iter().enumerate() {
            if let Err(error) = Pattern::parse(pattern.trim()) {
                let reason = format!("must be a pattern such as routerd.client.*.observed: {error}");
                report.fault(format!("spec.match.patterns[{index}]"), reason);
            }
        }
        let retry = &self.trigger.retry;
        if retry.backoff > retry.max_backoff {
            report.fault("spec.trigger.retry.backoff", "must not be longer than maxBackoff");
        }
    }
}

impl Judged for PluginSpec {
    fn judge(&mut self, report: &mut Report) {
        if !is_absolute(&self.executable) {
            report.fault("spec.executable", "must be an absolute path");
        }
        for name in self.env.keys().filter(|name| name.contains(['=', '\0'])) {
            report.fault("spec.env", format!("{} cannot be the name of a variable", quoted(name)));
        }
        for (name, _) in self.env.iter().filter(|(_, value)| value.contains('\0')) {
            report.fault(format!("spec.env.{}", crate::document::shown(name)), "cannot hold the character NUL");
        }
        triggers(&self.triggers, report);
    }
}

impl Judged for HubLinkSpec {
    fn judge(&mut self, report: &mut Report) {
        if let Some(reason) = address_fault(&self.address, &["ws", "wss"], "must use ws or wss") {
            report.fault("spec.address", reason);
        }
        hub_tls(&self.tls, report);
    }
}

/// A certificate has a key, and a key a certificate.
fn hub_tls(tls: &HubTls, report: &mut Report) {
    if tls.cert_file.is_empty() != tls.key_file.is_empty() {
        report.fault("spec.tls", "needs both certFile and keyFile, or neither");
    }
}

impl Judged for RepeaterTargetSpec {
    fn judge(&mut self, report: &mut Report) {
        let schemes = ["ws", "wss", "http", "https"];
        if let Some(reason) = address_fault(&self.address, &schemes, "must use ws, wss, http or https") {
            report.fault("spec.address", reason);
        }
        if self.retry.backoff > self.retry.max_backoff {
            report.fault("spec.retry.backoff", "must not be longer than maxBackoff");
        }
        hub_tls(&self.tls, report);
    }
}

impl Judged for SourceSpec {
    fn judge(&mut self, report: &mut Report) {
        triggers(&self.triggers, report);
        report.warn("", "is accepted and not run: an EventSubscription runs a plugin here");
    }
}

fn triggers(triggers: &[PluginTrigger], report: &mut Report) {
    for (index, trigger) in triggers.iter().enumerate() {
        if trigger.on == TriggerType::Interval && trigger.every.is_none() {
            report.fault(format!("spec.triggers[{index}].every"), "is required for interval triggers");
        }
    }
}

impl Judged for SloSpec {
    fn judge(&mut self, report: &mut Report) {
        let (warn, fail) = (self.delivery.lag_warn_seconds, self.delivery.lag_fail_seconds);
        if warn >= fail {
            let reason = format!("(effective {warn}) must be less than lagFailSeconds (effective {fail})");
            report.fault("spec.delivery.lagWarnSeconds", reason);
        }
    }
}

impl Judged for PolicySpec {
    fn judge(&mut self, report: &mut Report) {
        for (index, rule) in self.allow.iter().enumerate() {
            if rule.operations.is_empty() {
                report.warn(format!("spec.allow[{index}].operations"), "allows nothing: it names no operation");
            }
            if rule.targets.is_empty() {
                report.warn(format!("spec.allow[{index}].targets"), "allows nothing: it names no target");
            }
        }
    }
}

impl Judged for PartSpec {
    fn judge(&mut self, report: &mut Report) {
        for (index, resource) in self.resources.iter().enumerate() {
            if let Err(fault) = crate::document::documents(resource.clone()) {
                report.fault(format!("spec.resources[{index}].{}", fault.path), fault.reason);
            }
        }
    }
}

impl Judged for NodeSetSpec {
    fn judge(&mut self, report: &mut Report) {
        let at = |index: usize, field: &str| format!("spec.nodes[{index}].{field}");
        for (index, node) in self.nodes.iter().enumerate() {
            if self.nodes.iter().take(index).any(|other| other.node_ref == node.node_ref) {
                report.fault(at(index, "nodeRef"), format!("{} is duplicated", quoted(&node.node_ref)));
            }
            if let Some(reason) = endpoint_fault(&node.event_endpoint).filter(|_| !node.event_endpoint.is_empty()) {
                report.fault(at(index, "eventEndpoint"), reason);
            }
            let endpoint = node.sam_endpoint.as_str();
            if !endpoint.is_empty() && !Cidr::parse(endpoint).is_some_and(|cidr| cidr.is_ipv4()) {
                report.fault(at(index, "samEndpoint"), "must be IPv4");
            }
            if !endpoint.is_empty() && node.sam_endpoint_from.is_some() {
                report.fault(at(index, "samEndpoint"), "and samEndpointFrom are mutually exclusive");
            }
            for (place, mac) in node.mac_addresses.iter().enumerate().filter(|(_, mac)| !is_mac(mac)) {
                report
                    .fault(at(index, &format!("macAddresses[{place}]")), format!("{} is no MAC address", quoted(mac)));
            }
        }
    }
}

fn is_mac(text: &str) -> bool {
    let pair = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.trim().split([':', '-']).count() == 6 && text.trim().split([':', '-']).all(pair)
}

impl Judged for PoolSpec {
    fn judge(&mut self, report: &mut Report) {
        match Cidr::parse(&self.prefix).filter(|_| self.prefix.contains('/')) {
            None => report.fault("spec.prefix", "must be a CIDR"),
            Some(cidr) if !cidr.is_ipv4() => report.fault("spec.prefix", "must be an IPv4 CIDR"),
            Some(_) => {}
        }
        if self.members_from.is_empty() {
            report.fault("spec.membersFrom", "requires at least one SAMNodeSet source");
        }
        for (index, source) in self.members_from.iter().enumerate() {
            if node_set_name(&source.resource).is_none() {
                report.fault(format!("spec.membersFrom[{index}].resource"), "must reference SAMNodeSet/<name>");
            }
        }
    }
}

impl Judged for ClaimSpec {
    fn judge(&mut self, report: &mut Report) {
        if Cidr::parse(&self.address).is_none() {
            let reason: String = "must be an IP address or a CIDR, such as 10.88.60.9/32".into();
            report.fault("spec.address", reason);
        }
    }
}
