//! Messages between managers as bytes: a tag, for whom it is, JSON, and for a piece of a snapshot its raw bytes.

use crate::HandleError;
use crate::types::Bound;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use serde::de::DeserializeOwned;

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const SNAPSHOT: u8 = 3;

/// A message and the number of the manager that it is for.
pub(crate) struct Addressed {
    pub(crate) to: u64,
    pub(crate) message: Message,
}

/// A message.
pub(crate) enum Message {
    Append(AppendEntriesRequest<Bound>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<Bound>),
}

impl Addressed {
    pub(crate) fn encode(self) -> Result<Vec<u8>, serde_json::Error> {
        let (tag, json, data) = match self.message {
            Message::Append(request) => (APPEND, serde_json::to_vec(&request)?, Vec::new()),
            Message::Vote(request) => (VOTE, serde_json::to_vec(&request)?, Vec::new()),
            Message::Snapshot(mut request) => {
                let data = std::mem::take(&mut request.data);
                (SNAPSHOT, serde_json::to_vec(&request)?, data)
            }
        };
        let mut bytes = Vec::with_capacity(17 + json.len() + data.len());
        bytes.push(tag);
        bytes.extend(self.to.to_be_bytes());
        bytes.extend((json.len() as u64).to_be_bytes());
        bytes.extend(json);
        bytes.extend(data);
        Ok(bytes)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HandleError> {
        let short = || HandleError::Malformed("it is too short".to_owned());
        let (tag, rest) = bytes.split_first().ok_or_else(short)?;
        let (to, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let (length, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| short())?;
        let (json, data) = rest.split_at_checked(length).ok_or_else(short)?;
        let message = match *tag {
            APPEND => Message::Append(parse(json)?),
            VOTE => Message::Vote(parse(json)?),
            SNAPSHOT => {
                let mut request: InstallSnapshotRequest<Bound> = parse(json)?;
                request.data = data.to_vec();
                Message::Snapshot(request)
            }
            _ => return Err(HandleError::Malformed(format!("there is no kind {tag}"))),
        };
        Ok(Self { to: u64::from_be_bytes(*to), message })
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, HandleError> {
    serde_json::from_slice(json).map_err(|e| HandleError::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::Vote;

    #[test]
    fn a_piece_of_a_snapshot_survives_the_way() {
        let request = InstallSnapshotRequest {
            vote: Vote::new(3, 7),
            meta: openraft::SnapshotMeta::default(),
            offset: 5,
            data: vec![0, 255, b'{', 1],
            done: true,
        };
        let sent = Addressed { to: 9, message: Message::Snapshot(request.clone()) };
        let got = Addressed::decode(&sent.encode().unwrap()).unwrap();
        assert_eq!(got.to, 9);
        assert!(matches!(got.message, Message::Snapshot(r) if r == request));
    }

    #[test]
    fn nonsense_is_malformed() {
        let vote = Addressed { to: 1, message: Message::Vote(VoteRequest::new(Vote::new(1, 1), None)) };
        let good = vote.encode().unwrap();
        assert!(Addressed::decode(&good).is_ok());
        for end in 0..good.len() {
            assert!(Addressed::decode(&good[..end]).is_err(), "{end} bytes");
        }
        let mut other = good;
        other[0] = 77;
        assert!(Addressed::decode(&other).is_err());
    }
}
