//! The root of the Merkle Patricia trie (Yellow Paper, appendix D) over a list, keyed by rlp(index).

use super::keccak::keccak256;
use super::rlp;

const HASH: u8 = 0xa0; // the prefix of a 32-byte string
const INLINE: usize = 32; // shorter nodes stand in their parent themselves

struct Leaf<'a> {
    nibbles: Vec<u8>,
    value: &'a [u8],
}

/// The root over `values`, item i under the key rlp(i).
pub fn ordered_root<'a>(values: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut leaves: Vec<Leaf> = values.enumerate().map(|(index, value)| leaf(index, value)).collect();
    if leaves.is_empty() {
        return keccak256(&[rlp::EMPTY_STRING]);
    }
    leaves.sort_unstable_by(|a, b| a.nibbles.cmp(&b.nibbles));
    keccak256(&node(&leaves, 0))
}

fn leaf(index: usize, value: &[u8]) -> Leaf<'_> {
    let mut key = Vec::with_capacity(9);
    rlp::long(&mut key, index as u64);
    Leaf { nibbles: key.iter().flat_map(|byte| [byte >> 4, byte & 15]).collect(), value }
}

/// The node above sorted `leaves`, whose keys agree in `depth` nibbles; no key is the beginning of another.
fn node(leaves: &[Leaf], depth: usize) -> Vec<u8> {
    let (first, last) = (&leaves[0], &leaves[leaves.len() - 1]);
    if leaves.len() == 1 {
        let mut payload = Vec::with_capacity(first.value.len() + 16);
        path(&mut payload, &first.nibbles[depth..], 2);
        rlp::string(&mut payload, first.value);
        return listed(&payload);
    }
    let mut payload = Vec::with_capacity(17 * 33);
    let ends = first.nibbles[depth..].iter().zip(&last.nibbles[depth..]);
    let shared = depth + ends.take_while(|(a, b)| a == b).count();
    if shared > depth {
        path(&mut payload, &first.nibbles[depth..shared], 0);
        reference(&mut payload, leaves, shared);
        return listed(&payload);
    }
    let mut rest = leaves;
    for nibble in 0..16 {
        let count = rest.iter().take_while(|leaf| leaf.nibbles[depth] == nibble).count();
        let (group, others) = rest.split_at(count);
        rest = others;
        if group.is_empty() {
            payload.push(rlp::EMPTY_STRING);
        } else {
            reference(&mut payload, group, depth + 1);
        }
    }
    payload.push(rlp::EMPTY_STRING);
    listed(&payload)
}

fn reference(out: &mut Vec<u8>, leaves: &[Leaf], depth: usize) {
    let node = node(leaves, depth);
    if node.len() < INLINE {
        out.extend_from_slice(&node);
    } else {
        out.push(HASH);
        out.extend_from_slice(&keccak256(&node));
    }
}

/// The hex-prefix encoding; `flag` is 2 for a leaf, 0 for an extension.
fn path(out: &mut Vec<u8>, nibbles: &[u8], flag: u8) {
    let odd = nibbles.len() % 2;
    let mut bytes = vec![if odd == 1 { (flag + 1) << 4 | nibbles[0] } else { flag << 4 }];
    bytes.extend(nibbles[odd..].chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]));
    rlp::string(out, &bytes);
}

fn listed(payload: &[u8]) -> Vec<u8> {
    let mut node = Vec::with_capacity(payload.len() + 9);
    rlp::list(&mut node, payload);
    node
}
