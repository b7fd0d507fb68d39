//! Reading one HTTP/1 answer, byte by byte as it comes (RFC 9112): its head, how its end is framed, and whether its body
//! is the expected one.

/// The longest head that is read, and the room for what was read but not taken yet.
const ROOM: usize = 16 << 10;

/// Most fields of a head.
const MOST_FIELDS: usize = 64;

/// What came is not HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// A whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// The server announced that it closes the connection, by `Connection: close`, HTTP/1.0, or a body without length.
    pub closes: bool,
    /// The body is the expected one, or none was expected.
    pub body_matches: bool,
}

/// Bytes that were read and not taken yet.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; ROOM].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Where the next read goes.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.bytes[self.end..]
    }

    /// That so many bytes have been read into the room.
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    fn waiting(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    fn take(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            self.clear();
        }
    }
}

/// Where in an answer the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Head,
    Length(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    End,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    expected: Option<&'a [u8]>,
    place: Place,
    begun: bool,
    status: u16,
    closes: bool,
    /// Body bytes so far, and whether all of them were as expected.
    length: usize,
    matches: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(expected: Option<&'a [u8]>) -> Self {
        Self { expected, place: Place::Head, begun: false, status: 0, closes: false, length: 0, matches: true }
    }

    /// Whether a byte of the answer has come.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Takes what has come; the answer, once it is whole.
    pub(super) fn advance(&mut self, inbox: &mut Inbox) -> Result<Option<Answer>, Garbled> {
        self.begun |= !inbox.waiting().is_empty();
        while self.step(inbox)? {}
        if self.place != Place::End {
            return if inbox.is_full() { Err(Garbled) } else { Ok(None) };
        }
        // Nothing more was asked for.
        if inbox.waiting().is_empty() { Ok(Some(self.answer())) } else { Err(Garbled) }
    }

    /// The connection has ended; the answer, if this is how its end is framed.
    pub(super) fn end_of_file(&mut self) -> Option<Answer> {
        (self.place == Place::UntilClose).then(|| self.answer())
    }

    fn answer(&self) -> Answer {
        let whole = self.expected.is_none_or(|expected| expected.len() == self.length);
        Answer { status: self.status, closes: self.closes, body_matches: self.matches && whole }
    }

    /// Takes one part; whether there may be another.
    fn step(&mut self, inbox: &mut Inbox) -> Result<bool, Garbled> {
        match self.place {
            Place::Head => return self.head(inbox),
            Place::Length(left) => {
                let left = left - self.body(inbox, left);
                self.place = if left == 0 { Place::End } else { Place::Length(left) };
            }
            Place::UntilClose => {
                self.body(inbox, u64::MAX);
                return Ok(false);
            }
            Place::ChunkSize => match httparse::parse_chunk_size(inbox.waiting()).map_err(|_| Garbled)? {
                httparse::Status::Partial => return Ok(false),
                httparse::Status::Complete((taken, size)) => {
                    inbox.take(taken);
                    self.place = if size == 0 { Place::Trailers } else { Place::Chunk(size) };
                }
            },
            Place::Chunk(left) => {
                let left = left - self.body(inbox, left);
                self.place = if left == 0 { Place::ChunkEnd } else { Place::Chunk(left) };
                return Ok(left == 0);
            }
            Place::ChunkEnd => match Self::line(inbox)? {
                None if inbox.waiting().len() > 1 => return Err(Garbled),
                None => return Ok(false),
                Some(0) => self.place = Place::ChunkSize,
                Some(_) => return Err(Garbled),
            },
            Place::Trailers => match Self::line(inbox)? {
                None => return Ok(false),
                Some(0) => self.place = Place::End,
                Some(_) => {}
            },
            Place::End => return Ok(false),
        }
        Ok(!matches!(self.place, Place::End | Place::Length(_)))
    }

    fn head(&mut self, inbox: &mut Inbox) -> Result<bool, Garbled> {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(taken) = head.parse(inbox.waiting()).map_err(|_| Garbled)? else {
            return Ok(false);
        };
        self.status = head.code.ok_or(Garbled)?;
        let mut framing = Framing { closes: head.version == Some(0), length: None, chunked: false };
        for field in head.headers.iter() {
            framing.field(field)?;
        }
        inbox.take(taken);
        self.closes = framing.closes;
        self.place = match self.status {
            // An interim answer, such as 100: the real one follows.
            100..=199 if self.status != 101 => Place::Head,
            101 | 204 | 304 => Place::End,
            _ => framing.place(),
        };
        self.closes |= self.place == Place::UntilClose;
        Ok(self.place != Place::End)
    }

    /// Takes up to `most` bytes of body.
    fn body(&mut self, inbox: &mut Inbox, most: u64) -> u64 {
        let waiting = inbox.waiting();
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(waiting.len());
        if let Some(expected) = self.expected {
            self.matches &= expected.get(self.length..self.length + count) == Some(&waiting[..count]);
        }
        self.length += count;
        inbox.take(count);
        count as u64
    }

    /// Takes a line, if it is whole; its length without the line's end.
    fn line(inbox: &mut Inbox) -> Result<Option<usize>, Garbled> {
        let Some(end) = inbox.waiting().iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        if end == 0 || inbox.waiting()[end - 1] != b'\r' {
            return Err(Garbled);
        }
        inbox.take(end + 1);
        Ok(Some(end - 1))
    }
}

/// What the fields say of the connection and of the body's end.
struct Framing {
    closes: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn field(&mut self, field: &httparse::Header<'_>) -> Result<(), Garbled> {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(field.value).map_err(|_| Garbled)?;
            let length = text.trim().parse().map_err(|_| Garbled)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Garbled);
            }
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            self.chunked = tokens(field.value).last().is_some_and(|token| token.eq_ignore_ascii_case(b"chunked"));
        } else if field.name.eq_ignore_ascii_case("connection") {
            for token in tokens(field.value) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.closes = true;
                } else if token.eq_ignore_ascii_case(b"keep-alive") {
                    self.closes = false;
                }
            }
        }
        Ok(())
    }

    /// RFC 9112, section 6.3.
    fn place(&self) -> Place {
        match (self.chunked, self.length) {
            (true, _) => Place::ChunkSize,
            (false, Some(0)) => Place::End,
            (false, Some(length)) => Place::Length(length),
            (false, None) => Place::UntilClose,
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `bytes` in pieces of `size`; what came of it, and whether the end of file was needed.
    fn read(bytes: &[u8], size: usize, expected: Option<&[u8]>) -> Result<Option<Answer>, Garbled> {
        let (mut inbox, mut reader) = (Inbox::new(), Reader::new(expected));
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = inbox.room();
            let count = size.min(rest.len()).min(room.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbox.filled(count);
            rest = &rest[count..];
            if let Some(answer) = reader.advance(&mut inbox)? {
                return Ok(Some(answer));
            }
        }
        Ok(reader.end_of_file())
    }

    fn good(status: u16, closes: bool) -> Result<Option<Answer>, Garbled> {
        Ok(Some(Answer { status, closes, body_matches: true }))
    }

    #[test]
    fn every_framing_in_pieces_of_every_size() {
        let cases: [(&[u8], u16, bool); 7] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, false),
            (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 5\r\n\r\nhello", 200, true),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, true),
            (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", 200, false),
            (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, true),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello", 404, false),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: t\r\n\r\n",
                200,
                false,
            ),
        ];
        for (bytes, status, closes) in cases {
            for size in 1..=bytes.len() {
                assert_eq!(read(bytes, size, Some(b"hello")), good(status, closes), "{size} {}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn answers_without_a_body() {
        assert_eq!(read(b"HTTP/1.1 204 No Content\r\n\r\n", 9, None), good(204, false));
        assert_eq!(read(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 9, None), good(304, false));
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 9, Some(b"")), good(200, false));
    }

    #[test]
    fn a_wrong_body_is_seen() {
        for body in ["hellO", "hell", "hello!", ""] {
            let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let answer = read(text.as_bytes(), 3, Some(b"hello")).unwrap().unwrap();
            assert!(!answer.body_matches, "{body}");
        }
    }

    #[test]
    fn a_cut_answer_is_not_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length], 7, Some(b"hello")), Ok(None), "{length}");
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", 7, None), Ok(None));
    }

    #[test]
    fn what_is_not_http_is_garbled() {
        let head = "HTTP/1.1 200 OK\r\n";
        let endless = format!("{head}X: {}", "x".repeat(2 * ROOM));
        let cases = [
            "SSH-2.0-OpenSSH\r\n".to_owned(),
            format!("{head}Content-Length: five\r\n\r\nhello"),
            format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nx\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n"),
            format!("{head}Content-Length: 5\r\n\r\nhello and more"),
            endless,
        ];
        for case in cases {
            assert_eq!(read(case.as_bytes(), 1000, None), Err(Garbled), "{:.60}", case);
        }
    }
}
