"""A complete environment of Azure."""

from __future__ import annotations

KEY = "k3y-of-the-resource"
AZURE = {
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT_NAME": "my-deployment",
    "AZURE_OPENAI_API_KEY": KEY,
}
