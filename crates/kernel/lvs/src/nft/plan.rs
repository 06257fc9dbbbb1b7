//! What differs between a namespace's table as declared and as held, and the one transaction that mends it. Pure.
//!
//! Only what differs is written: one element among many thousands is one message. A set whose form is wrong, or a base
//! chain that is called elsewhere than it should, makes the whole table be made anew, in one transaction too.

use super::balance::{server_address, slots_of};
use super::kernel::{Held, HeldElement, Table, mark, shape};
use super::ruleset::{Chain, Content, Element, Ruleset, Sort};
use crate::difference::{Difference, Found, Subject};
use shoal_model::netns::NamespaceName;
use shoal_netlink::Request;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Messages of one transaction, and what they mend.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) requests: Vec<Request>,
    pub(super) differences: Vec<Difference>,
    /// Real servers that were given up: their connections have to end.
    pub(super) given_up: BTreeSet<IpAddr>,
}

/// Plans the mending.
pub(super) fn plan(table: &Table<'_>, namespace: &NamespaceName, wanted: &Ruleset, held: &Held) -> Plan {
    let planner = Planner { table, namespace, wanted };
    let mut plan = if wanted.is_empty() {
        planner.remove(held)
    } else if planner.is_beyond_repair(held) {
        planner.make_anew()
    } else {
        planner.mend(held)
    };
    let gone = held.elements.keys().filter(|element| !wanted.elements.contains_key(*element));
    plan.given_up = gone.filter_map(|(set, key)| server_address(set, key)).collect();
    plan
}

struct Planner<'a> {
    table: &'a Table<'a>,
    namespace: &'a NamespaceName,
    wanted: &'a Ruleset,
}

/// Elements of one set.
type ByKey<'a, T> = BTreeMap<&'a str, Vec<(&'a Vec<u8>, T)>>;

impl Planner<'_> {
    fn rules(&self, name: &str) -> Subject {
        Subject::Rules { namespace: self.namespace.clone(), name: name.to_owned() }
    }

    fn remove(&self, held: &Held) -> Plan {
        if !held.exists {
            return Plan::default();
        }
        Plan {
            requests: vec![self.table.remove()],
            differences: vec![difference(self.rules(self.table.name), Found::Unexpected)],
            given_up: BTreeSet::new(),
        }
    }

    fn make_anew(&self) -> Plan {
        let mut plan = self.mend(&Held::default());
        plan.requests.insert(0, self.table.remove());
        for difference in &mut plan.differences {
            difference.found = Found::Different;
        }
        plan
    }

    fn is_beyond_repair(&self, held: &Held) -> bool {
        let set_differs = held
            .sets
            .iter()
            .any(|(name, seen)| self.wanted.sets.get(name).is_some_and(|s| shape(s) != *seen));
        let chain_differs = held.chains.iter().any(|(name, seen)| {
            self.wanted.chains.get(name).is_some_and(|chain| base_of(chain) != seen.base)
        });
        set_differs || chain_differs
    }

    fn mend(&self, held: &Held) -> Plan {
        let mut plan = Plan::default();
        if !held.exists {
            plan.requests.push(self.table.make());
            plan.differences.push(difference(self.rules(self.table.name), Found::Missing));
        }
        self.make_chains_and_sets(held, &mut plan);
        self.remove_elements(held, &mut plan);
        self.write_rules(held, &mut plan);
        self.add_elements(held, &mut plan);
        self.remove_chains_and_sets(held, &mut plan);
        let mut seen = BTreeSet::new();
        plan.differences.retain(|d| seen.insert((d.subject.clone(), d.found)));
        plan
    }

    fn make_chains_and_sets(&self, held: &Held, plan: &mut Plan) {
        for (name, chain) in &self.wanted.chains {
            if !held.chains.contains_key(name) {
                plan.requests.push(self.table.make_chain(name, chain));
            }
        }
        for (number, (name, set)) in (1..).zip(&self.wanted.sets) {
            if !held.sets.contains_key(name) {
                plan.requests.push(self.table.make_set(name, set, number));
                if held.exists {
                    plan.differences.push(difference(self.rules(name), Found::Missing));
                }
            }
        }
    }

    /// Elements that are not declared, or hold something else: those are taken out and put in anew.
    fn remove_elements(&self, held: &Held, plan: &mut Plan) {
        let mut gone: ByKey<'_, Option<&Vec<u8>>> = BTreeMap::new();
        for ((set, key), element) in &held.elements {
            match self.wanted.elements.get(&(set.clone(), key.clone())) {
                Some(wanted) if same(wanted, element) => continue,
                Some(_) => {}
                None => {
                    let what = Subject::Leftover("element");
                    plan.differences.push(difference(what, Found::Unexpected));
                }
            }
            gone.entry(set).or_default().push((key, element.end.as_ref()));
        }
        for (set, key) in self.stale_affinities(held) {
            gone.entry(set).or_default().push((key, None));
        }
        for (set, elements) in gone {
            plan.requests.extend(self.table.remove_elements(set, &elements));
        }
    }

    /// Clients whose real server is no longer in the ring, drained ones included, get another.
    fn stale_affinities<'h>(&self, held: &'h Held) -> Vec<(&'h str, &'h Vec<u8>)> {
        let serving: BTreeSet<(&str, &[u8], &[u8])> = self
            .wanted
            .elements
            .iter()
            .filter_map(|((set, key), element)| match &element.content {
                Content::Bytes(server) => {
                    Some((set.as_str(), key.get(..key.len().checked_sub(4)?)?, server.as_slice()))
                }
                _ => None,
            })
            .collect();
        let stale = |set: &str, key: &[u8], server: &[u8]| {
            let slots = slots_of(set)?;
            let service = self.wanted.sets.get(&slots)?.key.iter().rev().skip(1);
            let length: u32 = service.map(|field| field.length().next_multiple_of(4)).sum();
            let service = key.get(..usize::try_from(length).ok()?)?;
            Some(!serving.contains(&(slots.as_str(), service, server)))
        };
        let all = held.affinities.iter();
        all.filter(|(set, key, server)| stale(set, key, server).unwrap_or(false))
            .map(|(set, key, _)| (set.as_str(), key))
            .collect()
    }

    fn write_rules(&self, held: &Held, plan: &mut Plan) {
        for (name, chain) in &self.wanted.chains {
            let seen = held.chains.get(name);
            let marks: Vec<String> = chain.rules.iter().map(mark).collect();
            let same = seen.is_some_and(|s| s.rules.iter().map(|r| &r.mark).eq(marks.iter()));
            if same {
                continue;
            }
            let found = if seen.is_some() { Found::Different } else { Found::Missing };
            plan.differences.push(difference(self.rules(name), found));
            if seen.is_some_and(|s| !s.rules.is_empty()) {
                plan.requests.push(self.table.empty_chain(name));
            }
            plan.requests.extend(chain.rules.iter().map(|rule| self.table.append_rule(name, rule)));
        }
    }

    fn add_elements(&self, held: &Held, plan: &mut Plan) {
        let mut missing: ByKey<'_, &Element> = BTreeMap::new();
        for ((set, key), element) in &self.wanted.elements {
            let seen = held.elements.get(&(set.clone(), key.clone()));
            if seen.is_some_and(|seen| same(element, seen)) {
                continue;
            }
            let found = if seen.is_some() { Found::Different } else { Found::Missing };
            plan.differences.push(difference(element.subject.clone(), found));
            missing.entry(set).or_default().push((key, element));
        }
        for (set, elements) in missing {
            let counting = self.wanted.sets.get(set).is_some_and(|s| s.sort == Sort::Counting);
            plan.requests.extend(self.table.add_elements(set, counting, &elements));
        }
    }

    fn remove_chains_and_sets(&self, held: &Held, plan: &mut Plan) {
        let odd_chains: Vec<&String> =
            held.chains.keys().filter(|name| !self.wanted.chains.contains_key(*name)).collect();
        let odd_sets: Vec<&String> =
            held.sets.keys().filter(|name| !self.wanted.sets.contains_key(*name)).collect();
        for name in odd_chains.iter().chain(&odd_sets) {
            plan.differences.push(difference(self.rules(name), Found::Unexpected));
        }
        plan.requests.extend(odd_chains.iter().map(|name| self.table.empty_chain(name)));
        plan.requests.extend(odd_chains.iter().map(|name| self.table.remove_chain(name)));
        plan.requests.extend(odd_sets.iter().map(|name| self.table.remove_set(name)));
    }
}

fn difference(subject: Subject, found: Found) -> Difference {
    Difference { subject, found, unrepaired: None }
}

fn base_of(chain: &Chain) -> Option<(String, u32, i32)> {
    chain.base.map(|base| (base.sort.to_owned(), base.hook as u32, base.priority))
}

fn same(wanted: &Element, held: &HeldElement) -> bool {
    wanted.content == held.content && wanted.end == held.end
}
