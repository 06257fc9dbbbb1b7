//! Subnets, VNIs, addresses and ports. What is handed out is part of the replicated state, so that no leader can hand it
//! out twice.

mod addresses;
mod networks;
mod nodes;
mod ports;
mod services;
mod subnets;
mod tasks;

use crate::draft::Draft;
use addresses::AddressBooks;

pub(crate) fn allocate(draft: &mut Draft<'_>) {
    networks::allocate(draft);
    let mut books = AddressBooks::default();
    nodes::allocate(draft, &mut books);
    services::allocate(draft, &mut books);
    tasks::allocate(draft, &mut books);
    books.note_cursors(draft);
}
