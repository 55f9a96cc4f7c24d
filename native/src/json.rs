//! JSON (RFC 8259) read where it stands, into nothing: None for whatever is not JSON, and for what no node writes.
//!
//! Stricter than orjson, never laxer: deep nesting, exponents, surrogates, and escapes in names are for Python to read.

const MOST_DEPTH: u32 = 64;
const MOST_DIGITS: usize = 18;
const LOW: u64 = 0x0101_0101_0101_0101; // in each byte
const HIGH: u64 = LOW << 7;

/// A member's value; numbers, objects, lists and strings with escapes as they are written.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Text(&'a str),
    Other(&'a str),
}

pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(json: &'a [u8]) -> Option<Self> {
        Some(Reader::of(std::str::from_utf8(json).ok()?))
    }

    pub fn of(text: &'a str) -> Self {
        Reader { text, at: 0 }
    }

    /// The byte with which the next value begins, or what stands in its place.
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Where the next value begins.
    pub fn here(&mut self) -> usize {
        self.peek();
        self.at
    }

    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// Whether nothing more follows.
    pub fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Read an object; `member` reads each value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &'a str) -> Option<()>) -> Option<()> {
        self.members(|reader, name, plain| if plain { member(reader, name) } else { None })
    }

    /// Read a list, and return its length; `item` reads each value, and is told its index.
    pub fn list(&mut self, mut item: impl FnMut(&mut Self, usize) -> Option<()>) -> Option<usize> {
        self.take(b'[')?;
        if self.peek()? == b']' {
            self.at += 1;
            return Some(0);
        }
        for index in 0.. {
            item(self, index)?;
            if self.is_last(b']')? {
                return Some(index + 1);
            }
        }
        None
    }

    pub fn value(&mut self) -> Option<Value<'a>> {
        let start = self.here();
        if self.byte()? == b'"' {
            let (text, plain) = self.string()?;
            return Some(if plain { Value::Text(text) } else { Value::Other(self.since(start)) });
        }
        Some(match self.span()? {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => Value::Other(other),
        })
    }

    /// The next value as it is written.
    pub fn span(&mut self) -> Option<&'a str> {
        let start = self.here();
        self.skip(MOST_DEPTH)?;
        Some(self.since(start))
    }

    fn skip(&mut self, depth: u32) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.members(|reader, _, _| reader.skip(depth))
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.list(|reader, _| reader.skip(depth)).map(|_| ())
            }
            b'n' => self.word("null"),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            _ => self.number(),
        }
    }

    /// Read an object; `member` is told a name, and whether it is written without escapes.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &'a str, bool) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let (name, plain) = self.string()?;
            self.take(b':')?;
            member(self, name, plain)?;
            if self.is_last(b'}')? {
                return Some(());
            }
        }
    }

    fn is_last(&mut self, closing: u8) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        (byte == closing || byte == b',').then_some(byte == closing)
    }

    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What stands between the quotes, and whether that is the text itself: it has no escapes.
    fn string(&mut self) -> Option<(&'a str, bool)> {
        self.take(b'"')?;
        let (start, mut plain) = (self.at, true);
        loop {
            self.at += plain_bytes(&self.text.as_bytes()[self.at..]);
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None, // a control character
            }
            plain = false;
        }
        self.at += 1;
        Some((&self.text[start..self.at - 1], plain))
    }

    fn escape(&mut self) -> Option<()> {
        let rest = &self.text.as_bytes()[self.at + 1..];
        self.at += match rest.first()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 2,
            b'u' => {
                let digits = rest.get(1..5)?;
                let surrogate = matches!(digits, [b'd' | b'D', b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F', _, _]);
                if surrogate || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                6
            }
            _ => return None,
        };
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text.as_bytes()[self.at..].starts_with(word.as_bytes()).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.byte()? == b'-' {
            self.at += 1;
        }
        let leading_zero = self.byte()? == b'0';
        if self.digits()? > 1 && leading_zero {
            return None;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        // what may follow a value is looked at by whoever reads on
        (!matches!(self.byte(), Some(b'e' | b'E'))).then_some(())
    }

    fn digits(&mut self) -> Option<usize> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        (1..=MOST_DIGITS).contains(&count).then_some(count)
    }
}

/// How many bytes come before a quote, a backslash or a control character.
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, others)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let (quote, backslash) = (word ^ (LOW * 0x22), word ^ (LOW * 0x5c));
        let found = (word.wrapping_sub(LOW * 0x20) & !word)
            | (quote.wrapping_sub(LOW) & !quote)
            | (backslash.wrapping_sub(LOW) & !backslash);
        if found & HIGH != 0 {
            return bytes.len() - rest.len() + (found & HIGH).trailing_zeros() as usize / 8;
        }
        rest = others;
    }
    let tail = rest.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count();
    bytes.len() - rest.len() + tail
}
