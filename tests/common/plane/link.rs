//! A stretch of network that a test can spoil: bytes are late, stay away, or the
//! connection ends. TLS passes through untouched.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Plane;
use super::users::{Route, User};

/// How many bytes are taken from a connection at once, and how many times that
/// are on their way in one direction.
const CHUNK: usize = 16 * 1024;
const CHUNKS: usize = 64;

/// A way to a server that can be spoiled. Dropping it cuts all connections.
pub(crate) struct Link {
    /// For users of their own: [`Plane::through`].
    pub(crate) route: Route,
    /// The administrator, on this way.
    pub(crate) admin: User,
    weather: watch::Sender<Weather>,
    accepting: JoinHandle<()>,
}

/// How the network is.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    delay: Duration,
    is_dark: bool,
    is_refusing: bool,
    cuts: u64,
}

impl Plane {
    /// A way to the API server that works until the test says otherwise.
    pub(crate) async fn link(&self) -> Link {
        self.link_to(self.apiserver.port, self.access.authority()).await.expect("a link is made")
    }

    /// A way to a server on `port` that `authority` vouches for.
    pub(super) async fn link_to(&self, port: u16, authority: PathBuf) -> Result<Link> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listening for a link")?;
        let route = Route { port: listener.local_addr()?.port(), authority };
        let admin = self.through(&route, &self.admin()).await;
        let (weather, felt) = watch::channel(Weather::default());
        let accepting = tokio::spawn(accept(listener, port, felt));
        Ok(Link { route, admin, weather, accepting })
    }
}

impl Link {
    /// Every byte takes this much longer, in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Nothing gets through any more and nobody is told, on old connections and
    /// on new ones. What was sent arrives when it is over, as with packets that
    /// TCP sends again, unless one side has given up.
    pub(crate) fn black_hole(&self, is_dark: bool) {
        self.weather.send_modify(|weather| weather.is_dark = is_dark);
    }

    /// New connections end as soon as they are made.
    pub(crate) fn refuse(&self, is_refusing: bool) {
        self.weather.send_modify(|weather| weather.is_refusing = is_refusing);
    }

    /// All connections that there are end now.
    pub(crate) fn cut(&self) {
        self.weather.send_modify(|weather| weather.cuts += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, weather: watch::Receiver<Weather>) {
    // Ended with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let now = *weather.borrow();
        if !now.is_refusing {
            connections.spawn(carry(near, port, weather.clone(), now.cuts));
        }
    }
}

/// Carries one connection until one side closes it or the test cuts it.
async fn carry(near: TcpStream, port: u16, mut weather: watch::Receiver<Weather>, cuts: u64) {
    let mut until_cut = weather.clone();
    let flow = async {
        weather.wait_for(|weather| !weather.is_dark).await.map_err(io::Error::other)?;
        let far = TcpStream::connect(("127.0.0.1", port)).await?;
        // As Kubernetes' clients do: small requests must not wait for company.
        far.set_nodelay(true)?;
        near.set_nodelay(true)?;
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let there = pump(near_read, far_write, weather.clone());
        let back = pump(far_read, near_write, weather.clone());
        tokio::try_join!(there, back).map(drop)
    };
    // However it ends, both sides see their connection end.
    tokio::select! {
        _ended = flow => (),
        _cut = until_cut.wait_for(|weather| weather.cuts != cuts) => (),
    }
}

/// One direction. Bytes are read when they come, so that a delay makes them late
/// and not few.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel(CHUNKS);
    let felt = weather.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            let due = Instant::now() + felt.borrow().delay;
            // An empty chunk is the end, which takes its time too.
            if sender.send((due, chunk)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, chunk)) = receiver.recv().await {
            sleep_until(due).await;
            weather.wait_for(|weather| !weather.is_dark).await.map_err(io::Error::other)?;
            if chunk.is_empty() {
                to.shutdown().await?;
            } else {
                to.write_all(&chunk).await?;
            }
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
