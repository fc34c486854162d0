//! This room says in an owner's words what keeps a sink from being reached, and what to do about it.

use std::io;

use daemon_kit::Text;

/// What stands in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nothing listens there.
    Refused,
    /// No answer at all.
    Silent,
    /// No way leads there.
    NoRoute,
    /// Nobody knows the name.
    NoName,
    /// The certificate was signed by nobody we know.
    Untrusted,
    /// The certificate is for another name.
    OtherName,
    /// The certificate is out of date, or one of the clocks is wrong.
    Expired,
    /// The other side speaks, but no TLS.
    NoTls,
    /// It hung up.
    Closed,
    /// It wants other credentials.
    Credentials,
    /// There is no such address there.
    NotFound,
    /// It wants less at once.
    Busy,
    /// It has trouble itself.
    Failing,
    /// It does not want the line.
    Line,
    /// Anything else: the technical words must do.
    Other,
}

impl Cause {
    /// Of an error of a connection, whatever it is wrapped in.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Cause {
        error
            .chain()
            .find_map(|cause| {
                let by_tls = cause.downcast_ref::<rustls::Error>().map(Cause::of_tls);
                by_tls.or_else(|| cause.downcast_ref::<io::Error>().map(Cause::of_io))
            })
            .unwrap_or(Cause::Other)
    }

    /// Of an error of the system, or of TLS inside one.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Cause {
        let inner = error.get_ref();
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Cause::of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Cause::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Cause::Silent,
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Cause::NoRoute,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Cause::Closed,
            // The resolver's errors have no kind of their own.
            _ if error.to_string().contains("lookup address") => Cause::NoName,
            _ => Cause::Other,
        }
    }

    /// Of an error of TLS.
    #[must_use]
    pub fn of_tls(error: &rustls::Error) -> Cause {
        use rustls::CertificateError as Bad;
        match error {
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Cause::OtherName,
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => Cause::Expired,
                _ => Cause::Untrusted,
            },
            rustls::Error::InvalidMessage(_) => Cause::NoTls,
            _ => Cause::Other,
        }
    }

    /// Of a status of HTTP that is no success.
    #[must_use]
    pub fn of_status(status: u16) -> Cause {
        match status {
            401 | 403 => Cause::Credentials,
            404 | 405 => Cause::NotFound,
            429 => Cause::Busy,
            400 | 413 | 422 => Cause::Line,
            500..=599 => Cause::Failing,
            _ => Cause::Other,
        }
    }

    /// What it means and what to do. Where there is no way out of the container at all, that is the first thing to
    /// mend, whatever else it looks like.
    #[must_use]
    pub fn says(self, has_way_out: bool) -> Text {
        let lost = matches!(self, Cause::NoRoute | Cause::NoName | Cause::Silent);
        if lost && !has_way_out {
            return Text::new(
                "このコンテナにはネットワークがありません。.env に LOG_NETWORK=bridge と書いて docker compose up -d を実行してください",
                "This container has no network. Put LOG_NETWORK=bridge into .env and run docker compose up -d",
            );
        }
        let (ja, en) = self.words();
        Text::new(ja, en)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Cause::Refused => (
                "相手の機器はありますが、そのポートで受け取るものがありません。受信が有効になっているか、ポート番号と方式 (udp, tcp, tls) が合っているか確かめてください",
                "The device is there, but nothing listens on that port. See that receiving is switched on there, and that the port and the protocol (udp, tcp, tls) are right",
            ),
            Cause::Silent => (
                "返事がありません。アドレスが正しいか、相手の電源とファイアウォールを確かめてください",
                "There is no answer. See whether the address is right, the device is on, and its firewall lets this in",
            ),
            Cause::NoRoute => (
                "そのアドレスへ行く道がありません。アドレスが正しいか、同じネットワークにあるか確かめてください",
                "No way leads to that address. See whether it is right and in the same network",
            ),
            Cause::NoName => (
                "その名前の機器が見つかりません。つづりを確かめるか、名前の代わりに IP アドレスを書いてください",
                "Nobody knows that name. Check its spelling, or write the IP address instead",
            ),
            Cause::Untrusted => (
                "証明書を確かめられません。NAS が自分で作った証明書なら、その CA 証明書を PEM で書き出し、EXTRA_CA_FILE で指定してください",
                "The certificate cannot be trusted. If the NAS made it itself, export its CA certificate as PEM and name that file in EXTRA_CA_FILE",
            ),
            Cause::OtherName => (
                "証明書は別の名前のものです。アドレスのホスト名を、証明書に書かれた名前にしてください",
                "The certificate is for another name. Write the host in the address as the certificate has it",
            ),
            Cause::Expired => (
                "証明書の期限が切れているか、どちらかの時計がずれています",
                "The certificate is out of date, or one of the clocks is wrong",
            ),
            Cause::NoTls => (
                "相手は暗号化 (TLS) を話していません。TLS のポートか確かめるか、暗号化しない方式 (tcp:// や http://) にしてください",
                "The other side does not speak TLS. See whether this is its TLS port, or use the plain form (tcp:// or http://)",
            ),
            Cause::Closed => (
                "つながりましたが、すぐに切られました。相手の受信の設定 (方式、許可するアドレス) を確かめてください",
                "It was reached, but hung up. See its settings for receiving: the format, and which addresses it allows",
            ),
            Cause::Credentials => (
                "名前かパスワード (または Webhook のアドレス) が違います",
                "The user or password is wrong (or the webhook's address)",
            ),
            Cause::NotFound => (
                "その場所には何もありません。アドレスの残りの部分を確かめてください",
                "There is nothing at this address. Check the part after the host",
            ),
            Cause::Busy => (
                "相手が「少なくしてほしい」と言っています。しばらくしてから試してください",
                "It asks for less at once. Try again in a while",
            ),
            Cause::Failing => (
                "相手の側で問題が起きています。そちらの記録を見てください",
                "It has trouble itself. Look into its own log",
            ),
            Cause::Line => (
                "届きましたが、この一行は受け取れないと言われました。相手の設定 (古い行や長い行の制限) を確かめてください",
                "It was reached, but refuses the line. See its limits for old or long lines",
            ),
            Cause::Other => (
                "送れませんでした。下の行が理由です",
                "It could not be sent. The line below is why",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_found_inside_their_wrapping() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let wrapped = anyhow::Error::new(refused).context("connecting to nas");
        assert_eq!(Cause::of(&wrapped), Cause::Refused);
        let name = rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName);
        let inside = anyhow::Error::new(io::Error::new(io::ErrorKind::InvalidData, name));
        assert_eq!(
            Cause::of(&inside.context("TLS handshake")),
            Cause::OtherName
        );
        let looked = io::Error::other("failed to lookup address information: Name or service");
        assert_eq!(Cause::of_io(&looked), Cause::NoName);
        assert_eq!(Cause::of(&anyhow::anyhow!("odd")), Cause::Other);
    }

    #[test]
    fn without_a_network_that_is_what_is_said() {
        assert!(Cause::NoRoute.says(false).ja.contains("LOG_NETWORK=bridge"));
        assert!(!Cause::NoRoute.says(true).en.contains("LOG_NETWORK"));
        assert!(!Cause::Refused.says(false).en.contains("LOG_NETWORK"));
    }
}
