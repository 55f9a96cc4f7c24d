//! Single fields of PostgreSQL's binary COPY format: a length of 4 bytes (-1 for NULL), then as many bytes.

const OID_BYTEA: i32 = 17;
const OID_INT4: i32 = 23;
const MOST_PAIRS: usize = 64; // each is compared with those before it

pub fn put_null(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xff; 4]);
}

pub fn put_int2(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&[0, 0, 0, 2]);
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_int4(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&[0, 0, 0, 4]);
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_int8(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[0, 0, 0, 8]);
    out.extend_from_slice(&value.to_be_bytes());
}

pub fn put_blob(out: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    out.extend_from_slice(&i32::try_from(value.len()).ok()?.to_be_bytes());
    out.extend_from_slice(value);
    Some(())
}

/// Declines what is not UTF-8, and what may need changes before PostgreSQL takes it: escapes and NUL.
pub fn put_json(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let valid = std::str::from_utf8(text).ok()?;
    if valid.contains('\0') || valid.contains("\\u") {
        return None;
    }
    out.extend_from_slice(&i32::try_from(text.len() + 1).ok()?.to_be_bytes());
    out.push(1); // the version of jsonb's binary form
    out.extend_from_slice(text);
    Some(())
}

/// A map of plain ASCII as JSON; whatever has to be escaped is declined.
pub fn put_json_object(out: &mut Vec<u8>, pairs: &[(&[u8], &[u8])]) -> Option<()> {
    if pairs.len() > MOST_PAIRS {
        return None;
    }
    if pairs.is_empty() {
        put_null(out);
        return Some(());
    }
    let mut text = Vec::new();
    for (at, (key, value)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
            return None;
        }
        text.push(if at == 0 { b'{' } else { b',' });
        put_plain(&mut text, key)?;
        text.push(b':');
        put_plain(&mut text, value)?;
    }
    text.push(b'}');
    put_json(out, &text)
}

fn put_plain(text: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if !value.iter().all(plain) {
        return None;
    }
    text.push(b'"');
    text.extend_from_slice(value);
    text.push(b'"');
    Some(())
}

/// `bytea[]` of values of 32 bytes.
pub fn put_hashes(out: &mut Vec<u8>, hashes: &[u8]) -> Option<()> {
    if hashes.len() % 32 != 0 {
        return None;
    }
    let mut array = array_head(OID_BYTEA, hashes.len() / 32)?;
    for hash in hashes.chunks_exact(32) {
        put_blob(&mut array, hash)?;
    }
    put_blob(out, &array)
}

/// `int4[]`.
pub fn put_int4s(out: &mut Vec<u8>, values: &[i32]) -> Option<()> {
    let mut array = array_head(OID_INT4, values.len())?;
    for value in values {
        put_int4(&mut array, *value);
    }
    put_blob(out, &array)
}

fn array_head(oid: i32, count: usize) -> Option<Vec<u8>> {
    let count = i32::try_from(count).ok()?;
    let head: &[i32] = if count > 0 {
        &[1, 0, oid, count, 1]
    } else {
        &[0, 0, oid]
    };
    Some(head.iter().flat_map(|each| each.to_be_bytes()).collect())
}
