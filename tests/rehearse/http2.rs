//! HTTP/2: what may be sent again without loss is no failure, and what is lost is one.

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::Response;
use tokio::net::TcpStream;

use crate::misdeeds::{Misdeeds, TIMES};
use crate::rehearsal::{Outcome, Rehearsal};

/// What the server does to some streams.
#[derive(Clone, Copy)]
enum Deed {
    /// RST_STREAM with this reason, before the head.
    ResetStream(Reason),
    /// RST_STREAM after the head and a part of the body.
    CutBody,
    /// The connection's end, without a word.
    CloseConnection,
    /// A GOAWAY with no error, and the connection's end once the stream has been answered.
    GoAway,
    /// Another body than the usual one.
    WrongBody,
}

async fn serve(misdeeds: Misdeeds<Deed>, stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((mut request, mut answer))) = connection.accept().await {
        // The request's body is read by the connection, whoever waits for it.
        request.body_mut().flow_control().release_capacity(0).unwrap();
        let Some(deed) = misdeeds.next() else {
            send(&mut answer, "hello", true);
            continue;
        };
        match deed {
            Deed::ResetStream(reason) => answer.send_reset(reason),
            Deed::CutBody => {
                let mut body = send(&mut answer, "hel", false);
                // The reset must not overtake the head.
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    body.send_reset(Reason::INTERNAL_ERROR);
                });
            }
            Deed::CloseConnection => return,
            Deed::GoAway => {
                send(&mut answer, "hello", true);
                connection.graceful_shutdown();
            }
            Deed::WrongBody => _ = send(&mut answer, "hullo", true),
        }
    }
}

fn send(answer: &mut SendResponse<Bytes>, body: &'static str, end: bool) -> h2::SendStream<Bytes> {
    let mut stream = answer.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), end).unwrap();
    stream
}

fn rehearse(deed: Deed) -> Outcome {
    let (misdeeds, address) = Misdeeds::start(deed, serve);
    misdeeds.rehearse(Rehearsal::of(address).with("--http2 4 --expect hello --every 200ms"))
}

#[test]
fn a_good_server() {
    let (_, address) = Misdeeds::start(Deed::CutBody, serve);
    let outcome =
        Rehearsal::of(address).with("--http2 4 --expect hello --rounds 2 --every 200ms").each_round(|_| {}).run();
    outcome.assert_failures(&[]);
    assert_eq!((outcome.number("/kept"), outcome.number("/survived")), (8.0, 8.0));
    assert!(outcome.number("/clients/http2/answers") > 40.0);
}

#[test]
fn a_stream_that_was_reset_is_lost() {
    rehearse(Deed::ResetStream(Reason::INTERNAL_ERROR)).assert_failures(&[("lost-stream", TIMES)]);
}

#[test]
fn a_stream_that_was_refused_may_be_sent_again() {
    let outcome = rehearse(Deed::ResetStream(Reason::REFUSED_STREAM));
    outcome.assert_failures(&[]);
    assert_eq!(outcome.number("/declined"), TIMES as f64);
}

#[test]
fn a_stream_whose_connection_ended_is_lost() {
    let outcome = rehearse(Deed::CloseConnection);
    let failures = outcome.failures();
    // On its first stream a connection is a new one, as for HTTP/1.
    let classes = ["lost-stream", "closed", "reset"];
    let [lost, closed, reset] = classes.map(|class| failures.get(class).copied().unwrap_or_default());
    let all = lost + closed + reset;
    assert_eq!((all, failures.values().sum::<u64>()), (TIMES, TIMES), "{failures:?}");
    assert!(lost > 0, "the first connection to end had been answered before: {failures:?}");
}

#[test]
fn a_body_that_was_cut() {
    rehearse(Deed::CutBody).assert_failures(&[("cut", TIMES)]);
}

#[test]
fn a_wrong_body() {
    rehearse(Deed::WrongBody).assert_failures(&[("wrong-body", TIMES)]);
}

#[test]
fn a_goaway_is_a_close_in_good_order() {
    let outcome = rehearse(Deed::GoAway);
    outcome.assert_failures(&[]);
    assert_eq!(outcome.number("/closed_in_order"), TIMES as f64);
}

/// Frames written by hand, because no library lets a server say what it should not: that it works on a stream.
mod by_hand {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::rehearsal::{Outcome, Rehearsal};

    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Reads frames up to the next request; the number of its stream.
    fn request(stream: &mut TcpStream) -> Option<u32> {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).ok()?;
            if head[3] == HEADERS {
                return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            }
        }
    }

    /// Answers each connection's first request, then says GOAWAY at the second, with this one as the last stream worked
    /// on or the one before, and closes.
    fn serve(listener: &TcpListener, works_on_it: bool, goaways: &AtomicU64) {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; PREFACE]).unwrap();
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
            let Some(first) = request(&mut stream) else { continue };
            // ":status: 200" is entry 8 of HPACK's static table; flags: END_STREAM, END_HEADERS.
            stream.write_all(&frame(HEADERS, 0x5, first, &[0x88])).unwrap();
            let Some(second) = request(&mut stream) else { continue };
            let last = if works_on_it { second } else { first };
            goaways.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat())).unwrap();
        }
    }

    fn rehearse(works_on_it: bool) -> (u64, Outcome) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let goaways = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&goaways);
        std::thread::spawn(move || serve(&listener, works_on_it, &counter));
        let outcome = Rehearsal::of(address).with("--http2 1 --post 0 --every 300ms").run();
        (goaways.load(Ordering::SeqCst), outcome)
    }

    #[test]
    fn a_stream_above_the_last_one_is_declined() {
        let (goaways, outcome) = rehearse(false);
        outcome.assert_failures(&[]);
        assert!(goaways > 5);
        assert_eq!(outcome.number("/declined") as u64, goaways);
    }

    #[test]
    fn a_stream_that_the_server_works_on_is_lost_with_its_connection() {
        let (goaways, outcome) = rehearse(true);
        assert!(goaways > 5);
        outcome.assert_failures(&[("lost-stream", goaways)]);
    }
}
