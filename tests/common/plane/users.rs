//! Who asks: users with a token of the test's making, and service accounts with
//! one that the API server signs.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt as _};

use super::access::{TOKEN, client_of, write_kubeconfig};
use super::{Plane, apply};

/// How long a service account's token is good for: the shortest that the API
/// server signs, and longer than a test.
const TOKEN_SECONDS: i64 = 600;

/// One who may ask the API server, and how.
#[derive(Clone)]
pub(crate) struct User {
    /// The bearer token.
    pub(crate) token: String,
    /// For programs.
    pub(crate) kubeconfig: PathBuf,
    /// For the test itself.
    pub(crate) client: Client,
}

/// A way to the API server.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// On the loopback device.
    pub(crate) port: u16,
    /// What signed the certificate that is shown there.
    pub(crate) authority: PathBuf,
}

/// What a service account's token is bound to: it is good as long as this lives,
/// and the API server tells admission which node that is or runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum BoundTo<'a> {
    /// To nothing.
    Nothing,
    /// To a node.
    Node(&'a str),
    /// To a pod in the account's namespace, which must run under the account.
    Pod(&'a str),
}

impl Plane {
    /// A user with no rights but those of the groups.
    ///
    /// The API server reads its users when it starts, so this starts it again:
    /// watches of programs that run already are cut. Call it before them.
    pub(crate) async fn user(&self, name: &str, groups: &[&str]) -> User {
        let [user] = self.users([(name, groups)]).await;
        user
    }

    /// Several of them at once, for one start of the API server.
    pub(crate) async fn users<const N: usize>(&self, named: [(&str, &[&str]); N]) -> [User; N] {
        let token = |name: &str| format!("token-of-{}", name.replace([':', ',', '"'], "-"));
        for (name, groups) in named {
            self.access.add_user(&token(name), name, groups).expect("a user is written down");
        }
        self.stop_apiserver().await;
        self.start_apiserver().await;
        let mut users = Vec::new();
        for (name, _) in named {
            users.push(self.user_of(&token(name)).await.expect("a user is made"));
        }
        users.try_into().ok().expect("one for each name")
    }

    /// The service account `name` in `namespace`, with a token as pods get it,
    /// through the `TokenRequest` API. The account and the namespace are made
    /// when they do not exist.
    pub(crate) async fn service_account_token(&self, namespace: &str, name: &str, to: BoundTo<'_>) -> User {
        self.try_service_account_token(namespace, name, to).await.expect("a service account gets a token")
    }

    async fn try_service_account_token(&self, namespace: &str, name: &str, to: BoundTo<'_>) -> Result<User> {
        let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let space = Namespace { metadata: named(namespace), ..Namespace::default() };
        apply::unless_there(&Api::all(self.client()), &space).await?;
        let accounts = Api::<ServiceAccount>::namespaced(self.client(), namespace);
        let account = ServiceAccount { metadata: named(name), ..ServiceAccount::default() };
        apply::unless_there(&accounts, &account).await?;

        let reference = |kind: &str, name: &str, uid| BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some(kind.to_owned()),
            name: Some(name.to_owned()),
            uid,
        };
        let bound = match to {
            BoundTo::Nothing => None,
            BoundTo::Node(node) => {
                let found = Api::<Node>::all(self.client()).get(node).await?;
                Some(reference("Node", node, found.uid()))
            }
            BoundTo::Pod(pod) => {
                let found = Api::<Pod>::namespaced(self.client(), namespace).get(pod).await?;
                Some(reference("Pod", pod, found.uid()))
            }
        };
        let spec = TokenRequestSpec {
            bound_object_ref: bound,
            expiration_seconds: Some(TOKEN_SECONDS),
            // No audience is the API server itself.
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer: TokenRequest =
            accounts.create_subresource("token", name, &PostParams::default(), &request).await?;
        let token = answer.status.and_then(|status| status.token).context("the API server signed nothing")?;
        self.user_of(&token).await
    }

    /// The one with every right.
    pub(crate) fn admin(&self) -> User {
        User { token: TOKEN.to_owned(), kubeconfig: self.kubeconfig(), client: self.client() }
    }

    /// The same user on another way to the API server.
    pub(crate) async fn through(&self, route: &Route, user: &User) -> User {
        self.user_at(route, &user.token).await.expect("a user takes another way")
    }

    async fn user_of(&self, token: &str) -> Result<User> {
        let direct = Route { port: self.apiserver.port, authority: self.access.authority() };
        self.user_at(&direct, token).await
    }

    async fn user_at(&self, route: &Route, token: &str) -> Result<User> {
        let kubeconfig = self.new_file("user", "kubeconfig");
        write_kubeconfig(&kubeconfig, route.port, &route.authority, token)?;
        let client = client_of(&kubeconfig).await?;
        Ok(User { token: token.to_owned(), kubeconfig, client })
    }
}
