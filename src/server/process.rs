//! What the process may do, and how much it may hold.
//!
//! Root is given up before anything is served: what is left is the right to listen on ports below 1024, for this process
//! and a successor. Done while there is one thread, since the kernel keeps capabilities for each.

use std::ffi::CString;
use std::io;

use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::{set_keepcaps, set_no_new_privs};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, initgroups, setgid, setuid};

/// Becomes this user for good, and takes all file descriptors that the system grants.
///
/// # Errors
/// There is no such user, or it cannot be become.
pub(super) fn settle(user: Option<&str>) -> io::Result<()> {
    raise_files();
    become_user(user)?;
    // whatever is started from here gains nothing by being set-user-id
    set_no_new_privs().map_err(io::Error::from)
}

/// The system's default of 1024 is for programs that do not know better (select(2)).
fn raise_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(hard) => log::info!(target: "durward", "up to {hard} open files"),
        Err(why) => log::warn!(target: "durward", "the number of open files cannot be raised: {why}"),
    }
}

fn become_user(name: Option<&str>) -> io::Result<()> {
    let Some(name) = name else {
        if Uid::effective().is_root() {
            log::warn!(
                target: "durward",
                "stays root: set `server.user`, or start it as a user with CAP_NET_BIND_SERVICE alone"
            );
        }
        return Ok(());
    };
    let failed = |why: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("cannot become user `{name}`: {why}"),
        )
    };
    let user = User::from_name(name)
        .map_err(|why| failed(&why))?
        .ok_or_else(|| failed(&"there is none"))?;
    if user.uid == Uid::effective() {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        return Err(failed(&"only root can"));
    }
    let kept: CapsHashSet = [Capability::CAP_NET_BIND_SERVICE].into_iter().collect();
    for capability in caps::all() {
        // what the kernel does not know need not be dropped
        if !kept.contains(&capability) && caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, capability).map_err(|why| failed(&why))?;
        }
    }
    let group = user.gid;
    let login = CString::new(name)?;
    set_keepcaps(true)
        .and_then(|()| initgroups(&login, group))
        .and_then(|()| setgid(group))
        .and_then(|()| setuid(user.uid))
        .and_then(|()| set_keepcaps(false))
        .map_err(|why| failed(&why))?;
    // changing the user has taken what was effective; what is permitted is narrowed before any of it is again
    for set in [
        CapSet::Permitted,
        CapSet::Effective,
        CapSet::Inheritable,
        CapSet::Ambient,
    ] {
        caps::set(None, set, &kept).map_err(|why| failed(&why))?;
    }
    log::info!(target: "durward", "runs as {name}, with the right to listen on any port");
    Ok(())
}

/// Tells the service manager (sd_notify(3)), if there is one, that this process serves, in the place of any other.
pub(super) fn tell_manager() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let name = path.as_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let told = address.and_then(|address| {
        let message = format!("READY=1\nMAINPID={}\n", std::process::id());
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address)
    });
    if let Err(why) = told {
        log::warn!(target: "durward", "the service manager cannot be told: {why}");
    }
}
