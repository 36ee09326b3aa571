"""Credentials recognized by their prefix: one row for each kind, with an example and a near miss.

The prefixes are facts that issuers document; most are also in the rules of the secret scanners Gitleaks
(https://github.com/gitleaks/gitleaks, config/gitleaks.toml) and Kingfisher (https://github.com/mongodb/kingfisher,
data/rules). Their rules themselves are for other engines (RE2, Hyperscan), and for looking through files once;
here they would run on the path of every call. Lengths are lower bounds below the issuers' own, because credentials
grow, and because a message may show one in part.
"""

from __future__ import annotations

from typing import NamedTuple


class Credential(NamedTuple):
    """One kind of credential.

    Attributes:
        issuer: Who gives it out.
        prefixes: What it begins with; no letter or digit stands before it.
        body: What follows the prefix, as a regular expression that cannot backtrack: it reads on as long as it
            may, or gives up after a number of characters that is written in it. The first 16 characters are letters,
            digits or signs of base64 (with a prefix that ends in `-`, the first ten, and no `+`, `/` or `=`).
        example: A body that is taken out.
        near_miss: A text that looks like it and stays.
        source: Where the shape is documented: a page, or the name of a rule of Gitleaks or Kingfisher.
    """

    issuer: str
    prefixes: tuple[str, ...]
    body: str
    example: str
    near_miss: str
    source: str


def _letters(least: int) -> str:
    return rf"[A-Za-z0-9]{{{least},}}+"


def _token(least: int) -> str:
    return rf"[A-Za-z0-9_\-]{{{least},}}+"


def _hex(exactly: int) -> str:
    return rf"[0-9a-fA-F]{{{exactly}}}(?![A-Za-z0-9])"


# No example is written in one piece with its prefix: scanners would take this file for a leak.
_20 = "a1B2c3D4e5F6g7H8i9J0"
_32 = "0123456789abcdef" * 2

# fmt: off
CREDENTIALS: tuple[Credential, ...] = (
    # Models
    Credential("OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse and others", ("sk-", "pk-", "rk-"),
               _token(16), f"ant-api03-{_20}-{_20}AA",
               "sk-short", "https://platform.openai.com/docs/api-reference/authentication"),
    Credential("OpenAI, sessions", ("sess-",),
               _letters(20), _20 * 2, f"sess-{_32[:8]}-{_32[:4]}", "OpenAI's dashboard"),
    Credential("Groq", ("gsk_",),
               _letters(20), _20 * 2 + _20[:12], "gsk_api_key_of_the_team", "kingfisher.groq"),
    Credential("xAI", ("xai-",),
               r"[A-Za-z0-9_]{20,}+", _20 * 4, "xai-org/grok-prompts-and-more", "kingfisher.xai"),
    Credential("Perplexity", ("pplx-",),
               _letters(20), _20 * 2 + _20[:8], "pplx-70b-online-chat-model", "perplexity-api-key"),
    Credential("Replicate", ("r8_",),
               _token(20), _20 + _20[:17], "r8_im", "kingfisher.replicate"),
    Credential("Hugging Face", ("hf_", "api_org_"),
               _letters(20), _20 + _20[:14], "hf_hub_download_and_more", "huggingface-access-token"),
    Credential("NVIDIA", ("nvapi-",),
               _token(20), _20 * 3, "nvapi-client", "kingfisher.nvapi"),
    Credential("Cerebras", ("csk-",),
               _letters(20), _20 * 2 + _20[:8],
               "csk-client-library-for-python", "https://inference-docs.cerebras.ai/quickstart"),
    Credential("Together AI", ("tgp_v1_",),
               _token(20), _20 * 2, "tgp_v1_client", "https://docs.together.ai/docs/api-keys-authentication"),
    Credential("Fireworks AI", ("fw_",),
               _letters(20), _20 + "ab",
               "fw_version_of_the_device", "https://docs.fireworks.ai/api-reference/introduction"),
    Credential("ElevenLabs", ("sk_",),
               _hex(48), _32 + _32[:16],
               "sk_sorted_keys_of_a_mapping", "https://elevenlabs.io/docs/api-reference/authentication"),
    Credential("Databricks", ("dapi",),
               _hex(32), _32, f"dapi{_32[:31]}", "databricks-api-token"),
    Credential("Pinecone", ("pcsk_",),
               _token(20), f"{_20[:5]}_{_20 * 3}",
               "pcsk_short", "https://docs.pinecone.io/guides/projects/manage-api-keys"),
    Credential("LangSmith", ("lsv2_pt_", "lsv2_sk_"),
               _token(20), f"{_32}_{_32[:10]}",
               "lsv2_pt_short", "https://docs.langchain.com/langsmith/create-account-api-key"),
    Credential("Tavily", ("tvly-",),
               _token(20), f"dev-{_20}{_20[:12]}",
               "tvly-search", "https://docs.tavily.com/documentation/api-reference/introduction"),
    Credential("Jina AI", ("jina_",),
               _token(32), _20 * 3, "jina_embeddings_v3", "https://jina.ai/api-dashboard"),
    Credential("Firecrawl", ("fc-",),
               _hex(32), _32, f"fc-{_32[:8]}-{_32[:4]}", "https://docs.firecrawl.dev/introduction"),
    # Clouds
    Credential("Google, API keys", ("AIza",),
               _token(30), _20 + _20[:15], f"AIza{_20}", "gcp-api-key"),
    Credential("Google, API keys of service accounts", ("AQ.",),
               _token(20), f"Ab8RN6{_20 * 2}",
               "FAQ.how_to_do_this_and_that_again", "https://ai.google.dev/gemini-api/docs/api-key"),
    Credential("Google, OAuth access", ("ya29.",),
               _token(20), f"a0{_20 * 4}", "ya29.short", "https://developers.google.com/identity/protocols/oauth2"),
    Credential("Google, OAuth clients", ("GOCSPX-",),
               _token(20), _20 + _20[:8], "GOCSPX-short", "kingfisher.google"),
    Credential("AWS, access keys", ("AKIA", "ASIA", "ABIA"),
               r"[0-9A-Z]{16}(?![A-Za-z0-9_])", "IOSFODNN7EXAMPLE",
               "ASIAPACIFICREGIONNORTHEAST1", "aws-access-token"),
    Credential("AWS, Bedrock", ("ABSK",),
               r"[A-Za-z0-9+/]{40,}+={0,2}", _20 * 6 + "==", "ABSKilled", "aws-amazon-bedrock-api-key-long-lived"),
    Credential("AWS, Bedrock for hours", ("bedrock-api-key-",),
               r"[A-Za-z0-9+/]{20,}+={0,2}", _20 * 6 + "==",
               "bedrock-api-key-short", "aws-amazon-bedrock-api-key-short-lived"),
    Credential("Alibaba Cloud", ("LTAI",),
               r"[A-Za-z0-9]{16,}+", _20, "LTAI5tShort", "alibaba-access-key-id"),
    Credential("DigitalOcean", ("dop_v1_", "doo_v1_", "dor_v1_"),
               _hex(64), _32 * 2, f"dop_v1_{_32}", "digitalocean-pat"),
    # Code and packages
    Credential("GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
               _letters(20), _20 + _20[:16],
               "ghs_of_all_the_world_s_people", "https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github"),
    Credential("GitHub, fine-grained", ("github_pat_",),
               r"[A-Za-z0-9_]{20,}+", f"{_20}_{_20 * 2}", "github_pat_short", "github-fine-grained-pat"),
    Credential("GitLab", ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glft-", "glsoat-", "glimt-", "glagent-",
               "gloas-"),
               r"[A-Za-z0-9_\-]{20,}+(?:\.[A-Za-z0-9_\-]++)*+", f"{_20}-{_20[:7]}.01.{_20[:9]}",
               "glpat-short", "gitlab-pat-routable"),
    Credential("npm", ("npm_",),
               _letters(20), _20 + _20[:16], "npm_config_registry_of_the_team", "npm-access-token"),
    Credential("PyPI", ("pypi-AgEI",),
               _token(20), f"cHlwaS5vcmc{_20 * 3}", "pypi-AgEIcHlwaS5vcmc", "pypi-upload-token"),
    Credential("RubyGems", ("rubygems_",),
               _hex(48), _32 + _32[:16], "rubygems_api_of_the_community", "rubygems-api-token"),
    Credential("Docker Hub", ("dckr_pat_", "dckr_oat_"),
               _token(20), f"{_20}-{_20[:6]}", "dckr_pat_short", "kingfisher.dockerhub"),
    # Payment and shops
    Credential("Stripe", ("sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk_prod_", "rk_prod_"),
               _letters(16), _20 * 2, "sk_test_mode_is_on_for_everybody", "stripe-access-token"),
    Credential("Stripe, webhooks", ("whsec_",),
               r"[A-Za-z0-9+/]{24,}+={0,2}", _20 + _20[:12],
               "whsec_of_the_endpoint_to_be_named", "https://docs.stripe.com/webhooks"),
    Credential("Square", ("sq0atp-", "sq0csp-"),
               _token(20), _20 + "ab", "sq0atp-short", "square-access-token"),
    Credential("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_"),
               _hex(32), _32, f"shpat_{_32[:31]}", "shopify-access-token"),
    # Messages
    Credential("Slack", ("xoxa-", "xoxb-", "xoxc-", "xoxd-", "xoxe-", "xoxp-", "xoxr-", "xoxs-"),
               r"[A-Za-z0-9\-]{10,}+", f"{'1234567890' * 2}-{_20}", "xoxb-short", "slack-bot-token"),
    Credential("Slack, apps", ("xapp-",),
               r"[0-9]-[A-Za-z0-9\-]{10,}+", f"1-A0123456789-{_20}",
               "xapp-server-for-the-desktop", "slack-app-token"),
    Credential("SendGrid", ("SG.",),
               r"[A-Za-z0-9_\-]{16,}+\.[A-Za-z0-9_\-]{16,}+", f"{_20}ab.{_20 * 2}",
               "SG.Singapore_and_the_islands", "sendgrid-api-token"),
    Credential("Brevo", ("xkeysib-",),
               r"[0-9a-f]{40,}+(?:-[A-Za-z0-9]++)?+", f"{_32 * 2}-{_20[:16]}",
               "xkeysib-short", "sendinblue-api-token"),
    # Infrastructure
    Credential("HashiCorp Vault", ("hvs.", "hvb.", "hvr."),
               _token(20), _20 * 4, "hvs.short", "vault-service-token"),
    Credential("Doppler", ("dp.pt.", "dp.st.", "dp.sa."),
               r"(?:[a-z0-9_\-]{2,35}+\.)?+[A-Za-z0-9]{40,}+", _20 * 2 + _20[:3], "dp.pt.short", "doppler-api-token"),
    Credential("Grafana", ("glsa_", "glc_"),
               r"[A-Za-z0-9_+/]{32,}+={0,2}", f"{_32}_{_32[:8]}", "glsa_short", "grafana-service-account-token"),
    Credential("New Relic", ("NRAK-",),
               r"[A-Z0-9]{20,}+", "A1B2C3D4E5F6G7H8I9J0KLMNOPQ", "NRAK-short", "new-relic-user-api-key"),
    Credential("Sentry", ("sntrys_", "sntryu_"),
               r"[A-Za-z0-9+/=_]{40,}+", _32 * 2, "sntrys_short", "sentry-user-token"),
    Credential("Supabase", ("sbp_",),
               _hex(40), _32 + _32[:8], f"sbp_{_32}", "https://supabase.com/docs/reference/api/introduction"),
    Credential("Supabase, secret keys", ("sb_secret_",),
               _token(20), f"{_20}ab_{_20[:8]}", "sb_secret_short", "https://supabase.com/docs/guides/api/api-keys"),
    Credential("PlanetScale", ("pscale_tkn_", "pscale_pw_", "pscale_oauth_"),
               r"[A-Za-z0-9_=\-]{32,}+(?:\.[A-Za-z0-9_=\-]++)*+", _20 * 2,
               "pscale_pw_short", "planetscale-api-token"),
    Credential("Linear", ("lin_api_", "lin_oauth_"),
               _letters(32), _20 * 2, "lin_api_short", "linear-api-key"),
    Credential("Notion", ("ntn_",),
               _letters(40), f"12345678901{_20}{_20[:15]}", "ntn_short", "notion-api-token"),
    Credential("Figma", ("figd_",),
               _token(40), _20 * 2, "figd_short", "kingfisher.figma"),
    Credential("Postman", ("PMAK-",),
               r"[0-9a-f]{24}-[0-9a-f]{34}", f"{_32[:24]}-{_32}ab", "PMAK-short", "postman-api-token"),
    Credential("Pulumi", ("pul-",),
               _hex(40), _32 + _32[:8], f"pul-{_32}", "pulumi-api-token"),
    Credential("Fly.io", ("fo1_", "fm1a_", "fm1r_", "fm2_"),
               r"[A-Za-z0-9_+/\-]{40,}+={0,3}", _20 * 3, "fm2_short", "flyio-access-token"),
    Credential("Heroku", ("HRKU-AA",),
               _token(50), _20 * 3, "HRKU-AAshort", "heroku-api-key-v2"),
    Credential("Tailscale", ("tskey-",),
               r"[a-z]{3,12}+-[A-Za-z0-9\-]{20,}+", f"auth-{_20}", "tskey-auth-short", "kingfisher.tailscale"),
    Credential("1Password", ("ops_eyJ",),
               r"[A-Za-z0-9+/_\-]{80,}+={0,2}", _20 * 5, "ops_eyJshort", "1password-service-account-token"),
    Credential("age", ("AGE-SECRET-KEY-1",),
               r"[A-Z0-9]{50,}+", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L" * 2, "AGE-SECRET-KEY-1SHORT", "age-secret-key"),
)
# fmt: on
